"""A checkout of another time: spec and locks of one environment as they were, for a while or to keep."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError
from harness.locking.imagelock import BUILDER_FORMAT
from harness.release.baseline import Baseline
from harness.release.files import write_sources
from harness.release.site import Site
from harness.release.state import EnvironmentState, Sources
from harness.spec.variables import image_variables


@contextmanager
def restored(state: EnvironmentState, site: Site) -> Iterator[Path]:
    """A temporary root that what takes a checkout's `root` can be given; it is gone after the `with` block.

    It holds `docker/NAME.yaml` and `lockfiles/NAME/` of that environment alone: no datasets, no baselines.

    Raises:
        IntegrityError: what is kept of the environment does not come out with its recorded digests.
    """
    with site.store.temporary_folder() as root:
        write_sources(state.sources, root)
        yield root


def restore(baseline: Baseline, environment: str, folder: Path) -> tuple[Path, ...]:
    """Write what an environment was made from into an empty folder, which is made if need be; the paths written.

    Raises:
        UsageError: the baseline has no such environment, or the folder is not empty.
        IntegrityError: as for `restored`.
        OSError: the folder cannot be written.
    """
    state = baseline.environments.get(environment)
    if state is None:
        known = ", ".join(sorted(baseline.environments))
        raise UsageError(
            f"The baseline {baseline.release} has no environment {environment[:60]!a}", hint=f"There is: {known}."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder", hint="Give one that is empty, or that is not there yet.")
    return write_sources(state.sources, folder)


def why_not_now(sources: Sources) -> str | None:
    """Why this version of the harness makes another image of these sources, where it does; null where it makes it."""
    changed = []
    if sources.builder != BUILDER_FORMAT:
        changed.append(f"images are assembled in another way (format {sources.builder}, now {BUILDER_FORMAT})")
    now = image_variables(sources.spec.variant)
    if names := sorted(key for key in now | sources.variables if now.get(key) != sources.variables.get(key)):
        changed.append(f"images are given other variables ({', '.join(names)})")
    return " and ".join(changed) or None
