"""A Debian archive as its owner signed it: the release file's OpenPGP signature, then all else by digest from there."""

import lzma
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec
from debian.deb822 import Deb822

from harness.errors import HarnessError, IntegrityError, PrerequisiteError, UsageError
from harness.locking.closure import PackageIndex
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, digest_from_hex, hexadecimal
from harness.store.http import AddressError, read_address, redact
from harness.store.process import run
from harness.store.sources import debian_mirrors

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_RELEASE_LIMIT = 16 << 20
_LIST_LIMIT = 512 << 20


class Release(msgspec.Struct, frozen=True):
    """A release file whose signature was found good. `files` is (digest, size in bytes) by path below `dists/SUITE`."""

    base: str
    suite: str
    date: datetime
    files: dict[str, tuple[Digest, int]]

    @property
    def snapshot(self) -> str:
        """When the snapshot archive surely holds this release's files: a day after it was made."""
        return (self.date + timedelta(days=1)).strftime("%Y%m%dT%H%M%SZ")


def read_release(
    suite: str, *, keyrings: Sequence[Path] = KEYRINGS, environment: Mapping[str, str] = os.environ
) -> Release:
    """The release file of a suite, from the first mirror that has it.

    Raises:
        PrerequisiteError: no mirror is known or has it, or gpgv or Debian's keys are missing.
        IntegrityError: its signature is not Debian's, or it is for another suite.
    """
    failures = []
    for base in debian_mirrors(suite, environment):
        address = f"{base}/dists/{suite}/InRelease"
        try:
            signed = read_address(address, limit=_RELEASE_LIMIT)
        except AddressError as error:
            failures.append(f"{redact(address)}: {error.message}")
            continue
        return parse_release(verify_signature(signed, keyrings=keyrings, where=redact(address)), suite, base)
    raise PrerequisiteError(
        f"No Debian mirror has the suite {suite}: {'; '.join(failures) or 'none is known here'}",
        hint="Set HARNESS_DEBIAN_MIRROR to the address or folder of one.",
    )


def verify_signature(signed: bytes, *, keyrings: Sequence[Path], where: str) -> str:
    """The text that an OpenPGP signature covers, and nothing around it.

    Raises:
        PrerequisiteError: gpgv, or every keyring, is missing.
        IntegrityError: no key of the keyrings signed it, or a signature is bad.
    """
    present = [str(keyring) for keyring in keyrings if keyring.is_file()]
    if not present:
        raise PrerequisiteError("Debian's archive keys are not here", hint="Install debian-archive-keyring and gpgv.")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "InRelease"), Path(folder, "Release")
        source.write_bytes(signed)
        options = [word for keyring in present for word in ("--keyring", keyring)]
        argv = ["gpgv", "--homedir", folder, "--status-fd", "1", *options, "--output", str(target), str(source)]
        try:
            status = run(argv, check=False, timeout=60).stdout.decode(errors="replace")
        except PrerequisiteError as error:
            raise PrerequisiteError("gpgv is not installed", hint="Install gpgv and debian-archive-keyring.") from error
        words = [line.split()[1] for line in status.splitlines() if line.startswith("[GNUPG:] ")]
        # A release is signed with several keys, of which an older keyring knows some: one good signature is enough.
        if "GOODSIG" not in words or "VALIDSIG" not in words or "BADSIG" in words or not target.is_file():
            raise IntegrityError(
                f"{where} has no good signature of Debian's",
                hint="Use another mirror, or a newer debian-archive-keyring.",
            )
        return target.read_text(errors="replace")


def parse_release(text: str, suite: str, base: str) -> Release:
    """A release file's text as a value.

    Raises:
        IntegrityError: it is for another suite, or lacks a field.
    """
    fields = Deb822(text)
    if suite not in (fields.get("Codename"), fields.get("Suite")):
        raise IntegrityError(f"The release file of {redact(base)} is for {fields.get('Codename')!r}, not {suite!r}")
    files: dict[str, tuple[Digest, int]] = {}
    try:
        for line in fields["SHA256"].split("\n"):
            if line.strip():
                sha256, size, name = line.split()
                files[name] = (digest_from_hex(sha256), int(size))
        date = parsedate_to_datetime(fields["Date"]).astimezone(UTC)
    except (KeyError, ValueError, HarnessError) as error:
        raise IntegrityError(f"The release file of {redact(base)} cannot be read: {error}") from error
    return Release(base, suite, date, files)


def read_package_index(release: Release, *, component: str, architecture: str) -> PackageIndex:
    """The package list of a release, for one component and architecture.

    Raises:
        UsageError: the release has no such component or architecture.
        PrerequisiteError: the mirror does not serve it.
        IntegrityError: the mirror serves something else under its name.
    """
    name = f"{component}/binary-{architecture}/Packages.xz"
    if name not in release.files:
        raise UsageError(f"The suite {release.suite} has no {name}", hint="Correct debian.component or .architecture.")
    digest, size = release.files[name]
    folder = f"{release.base}/dists/{release.suite}/{component}/binary-{architecture}"
    failures, other = [], False
    # By hash first: it cannot change between the release file and the list while the mirror is being updated.
    for address in (f"{folder}/by-hash/SHA256/{hexadecimal(digest)}", f"{folder}/Packages.xz"):
        try:
            data = read_address(address, limit=size)
        except AddressError as error:
            failures.append(f"{redact(address)}: {error.message}")
            continue
        if digest_of(data) == digest:
            return PackageIndex(_decompress(data).decode(), architecture)
        failures.append(f"{redact(address)}: other bytes than the release file names")
        other = True
    kind = IntegrityError if other else PrerequisiteError
    raise kind(f"The package list of {release.suite} cannot be had: {'; '.join(failures)}", hint="Use another mirror.")


def _decompress(data: bytes) -> bytes:
    decompressor = lzma.LZMADecompressor()
    text = decompressor.decompress(data, max_length=_LIST_LIMIT)
    if not decompressor.eof:
        raise IntegrityError(f"The package list is larger than {_LIST_LIMIT} bytes, or cut off")
    return text
