"""What an image is made from."""

import msgspec

from harness.locking.debian import DebianLock
from harness.locking.imagespec import ImageSpec
from harness.locking.python import PythonLock


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The spec and the two locks. The third input, the variables, is in the config alone."""

    spec: ImageSpec
    debian: DebianLock
    python: PythonLock
