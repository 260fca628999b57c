"""Where a release is made or checked: what every step of it needs, in one value."""

from pathlib import Path

import msgspec

from harness.store.progress import Progress
from harness.store.store import Store

BASELINES = Path("lockfiles") / "baselines"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout, the store, the folder that runs are kept in, and who is told how far work has come."""

    root: Path
    store: Store
    progress: Progress
    results: Path = Path("RESULTS")

    @property
    def baselines(self) -> Path:
        """The folder of committed baselines, their waivers and the project's own rules."""
        return self.root / BASELINES
