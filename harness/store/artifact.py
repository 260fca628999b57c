"""What is fetched: files that are known by their digest before anything is asked of anyone."""

import msgspec

from harness.spec.digest import Digest


class Wheel(msgspec.Struct, frozen=True):
    """A wheel (or a source archive) of a Python distribution. `name` is normalised, `filename` the file's own."""

    name: str
    version: str
    filename: str
    digest: Digest
    size: int | None = None


class DebianFile(msgspec.Struct, frozen=True):
    """A file of a Debian archive: `path` below a mirror's base, held by the snapshot archive at `snapshot`."""

    path: str
    digest: Digest
    size: int
    suite: str
    snapshot: str

    @property
    def filename(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


Artifact = Wheel | DebianFile
