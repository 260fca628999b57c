"""What an image says of its Debian packages, where scanners look for it: a fragment a package under `status.d`.

One `status` file would need dpkg to keep it, and would hide that of a base image below; fragments add up. They are what
distroless images have, and what Trivy, Syft and Grype read: the control paragraph, and the sums of the package's files.
"""

from collections.abc import Container

from debian.deb822 import Deb822

from harness.errors import IntegrityError
from harness.images.paths import member_path, merged

FOLDER = "var/lib/dpkg/status.d"

# dpkg's word for a package that is there. Its scripts' work is done by the build or waived in the spec.
_STATUS = "Status: install ok installed\n"
_SUM = 32


def status_path(package: str) -> str:
    """Where the paragraph of a package lies."""
    return f"{FOLDER}/{package}"


def sums_path(package: str) -> str:
    """Where the sums of a package's files lie."""
    return f"{FOLDER}/{package}.md5sums"


def paragraph(control: bytes, where: str) -> tuple[Deb822, bytes]:
    """The fields of a package's control file, and the text that says that it is installed.

    Raises:
        IntegrityError: it is not one paragraph of UTF-8, so scanners might see other packages than the lock, or it
            says itself what state it is in.
    """
    try:
        text = control.decode().strip("\n") + "\n"
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{where}: the control file is not UTF-8") from error
    if any(not line.strip() for line in text.splitlines()):
        raise IntegrityError(f"{where}: the control file holds more than one paragraph")
    fields = Deb822(text)
    if "Status" in fields:
        raise IntegrityError(f"{where}: the control file has a field Status, which only dpkg may write")
    return fields, text.encode() + _STATUS.encode()


def sums_of(text: bytes, files: Container[str], where: str) -> bytes:
    """The lines of a package's `md5sums` whose files are among `files`, the paths in the image.

    Raises:
        IntegrityError: a line is not a sum and a plain path.
    """
    kept = b""
    for line in text.splitlines():
        checksum, name = line[:_SUM], line[_SUM + 2 :].decode("utf-8", "surrogateescape")
        if len(checksum) != _SUM or not all(digit in b"0123456789abcdef" for digit in checksum) or not name:
            raise IntegrityError(f"{where}: its md5sums hold {line[:100]!r}, which is no sum and path")
        if merged(member_path(name, where)) in files:
            kept += line + b"\n"
    return kept
