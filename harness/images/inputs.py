"""What an image is made from."""

import msgspec

from harness.locking.debian import DebianLock
from harness.locking.imagespec import ImageSpec
from harness.locking.python import PythonLock
from harness.store.artifact import Artifact, DebianFile, Wheel

UNFIT = "Its digest is the lock's, so it was made so: lock another version, `harness lock NAME --upgrade PACKAGE`."
"""What to do about a wheel or Debian package that cannot be put into an image."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The spec and the two locks. The third input, the variables, is in the config alone."""

    spec: ImageSpec
    debian: DebianLock
    python: PythonLock

    def artifacts(self) -> list[Artifact]:
        """The files that the locks name, as they are fetched."""
        lock = self.debian
        packages = [DebianFile(file.path, file.digest, file.size, lock.suite, lock.snapshot) for file in lock.packages]
        wheels = [Wheel(file.name, file.version, file.filename, file.digest) for file in self.python.wheels]
        return [*packages, *wheels]
