"""A checkout of another time: a root with the spec and the locks of one environment as they were, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.release.files import write_sources
from harness.release.site import Site
from harness.release.state import EnvironmentState


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
