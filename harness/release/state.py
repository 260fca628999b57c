"""What is known of one environment at one time: what it is made from, and what it says of itself when run."""

import msgspec

from harness.locking.debian import DebianLock
from harness.locking.imagelock import ImageLock
from harness.locking.imagespec import ImageSpec
from harness.locking.python import PythonLock
from harness.runs.opening import EngineName
from harness.runs.survey import Survey
from harness.spec.digest import Digest
from harness.spec.run import Profile


class Sources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an environment is made from, whole: with it the very image can be made again.

    `digests` are those of the inputs by name (`spec`, `debian.lock`, `python.txt`, `variables`), `image` is null where
    no image was locked, `image_digest` is that of the bytes of `image.lock` (null with it), `variables` are those that
    stand in the image's config, `builder` is the builder's format.
    """

    spec: ImageSpec
    debian: DebianLock
    python: PythonLock
    digests: dict[str, Digest]
    variables: dict[str, str]
    builder: int
    image: ImageLock | None
    image_digest: Digest | None


class EnvironmentState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One environment. `survey` is null where it was not run, and `unsurveyed` then says why; else that is null."""

    name: str
    engine: EngineName
    profile: Profile
    sources: Sources
    survey: Survey | None
    unsurveyed: str | None = None
