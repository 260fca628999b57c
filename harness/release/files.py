"""The files that an environment is made from, out of its `Sources` alone: locks byte for byte, the spec by content."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from harness.errors import HarnessError, IntegrityError
from harness.locking.imagespec import ImageSpec, spec_digest
from harness.locking.lockfile import encode_lock
from harness.locking.python import encode_python_lock
from harness.record.files import write_atomically
from harness.record.hashing import digest_of, signature
from harness.release.state import Sources
from harness.spec.digest import Digest
from harness.spec.documents import parse_document

_HINT = "Restore the baseline from version control."


def source_files(sources: Sources) -> dict[str, bytes]:
    """The files by path below a checkout: spec, `debian.lock`, `python.txt` and, where there is one, `image.lock`.

    The locks are byte for byte as they were; the spec has the same content, without its comments.

    Raises:
        IntegrityError: a file does not come out with its recorded digest, or the variables do not.
    """
    name = sources.spec.name
    spec = f"docker/{name}.yaml"
    files = {
        spec: _spec_document(sources.spec),
        f"lockfiles/{name}/debian.lock": encode_lock(sources.debian),
        f"lockfiles/{name}/python.txt": encode_python_lock(sources.python),
    }
    if sources.image is not None:
        files[f"lockfiles/{name}/image.lock"] = encode_lock(sources.image)
    found: dict[str, Digest] = {Path(path).name: digest_of(data) for path, data in files.items() if path != spec}
    found |= {"spec": _digest_read_back(files[spec], spec), "variables": signature(sources.variables)}
    recorded = dict(sources.digests)
    if sources.image_digest is not None:
        recorded["image.lock"] = sources.image_digest
    for what in sorted(found | recorded):
        if found.get(what) != recorded.get(what):
            raise IntegrityError(
                f"The {what} kept of the image {name} is not that of then: its digest is another", hint=_HINT
            )
    return files


def write_sources(sources: Sources, root: Path) -> tuple[Path, ...]:
    """Write those files below `root`, whose folders are made; the paths written, in their order.

    Raises:
        IntegrityError: as for `source_files`; nothing is written then.
        OSError: `root` cannot be written.
    """
    written = []
    for name, data in sorted(source_files(sources).items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        written.append(path)
    return tuple(written)


class _Dumper(yaml.SafeDumper):
    """YAML in which every text is in quotes, so that none can be read as a number, a truth or nothing."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Dumper.add_representer(str, _quoted)


def _spec_document(spec: ImageSpec) -> bytes:
    plain: Any = msgspec.to_builtins(spec)
    text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, width=float("inf"))
    return text.encode("ascii")  # PyYAML escapes all else


def _digest_read_back(document: bytes, name: str) -> Digest:
    """What a checkout will say of the spec that is written."""
    try:
        return spec_digest(parse_document(document.decode(), ImageSpec, name))
    except HarnessError as error:
        raise IntegrityError(f"The spec kept as {name} makes no sense: {error.message}", hint=_HINT) from error
