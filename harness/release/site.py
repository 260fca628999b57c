"""Where a release is made or checked: what every step of it needs, in one value."""

import tomllib
from pathlib import Path

import msgspec

from harness.errors import UsageError
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
    def project(self) -> str:
        """What the checkout is called: the project's name in its `pyproject.toml`, else the name of its folder.

        Raises:
            UsageError: `pyproject.toml` cannot be read.
        """
        path = self.root / "pyproject.toml"
        if not path.exists():
            return self.root.resolve().name
        try:
            name = tomllib.loads(path.read_text("utf-8")).get("project", {}).get("name")
        except (OSError, ValueError, AttributeError) as error:
            raise UsageError(f"{path} cannot be read: {error}", hint="Mend it: the project's name is in it.") from error
        return name if isinstance(name, str) and name else self.root.resolve().name

    @property
    def baselines(self) -> Path:
        """The folder of committed baselines, their waivers and the project's own rules."""
        return self.root / BASELINES
