"""Make a release's baseline: survey each environment anew, run its golden runs, and put it together."""

import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.errors import PrerequisiteError, UsageError
from harness.release.baseline import Baseline, Golden, baseline_path, check_new, sealed, write_baseline
from harness.release.golden import golden_of, run_golden
from harness.release.observe import observe
from harness.release.site import Site
from harness.release.state import EnvironmentState
from harness.runs.git import GitState, git_state
from harness.runs.inputs import code_mount
from harness.runs.opening import environment
from harness.spec.names import check_names
from harness.spec.resolution import find_experiment


class GoldenRequest(msgspec.Struct, frozen=True):
    """A golden run to make in each environment: `experiment` as `harness run` takes it, a path below the checkout."""

    experiment: str
    quick: bool = False


def create_baseline(
    release: str,
    site: Site,
    *,
    environments: Sequence[str],
    golden: Sequence[GoldenRequest],
    replace: bool = False,
    write: bool = True,
) -> tuple[Baseline, Path]:
    """The baseline of the checkout as it is now, and where it lies (or would, without `write`).

    Raises:
        UsageError: a name makes no sense or is given twice, the release has another baseline already, or files changed
            meanwhile.
        PrerequisiteError: an environment cannot be surveyed here.
        HarnessError: a golden run could not be made.
    """
    path = baseline_path(site, release)
    check_new(release, site)
    requests = checked_golden(golden, site)
    if not environments:
        raise UsageError("A baseline needs at least one environment", hint="Name it: --environment cpu.")
    for name in check_names(environments, "environment"):
        environment(name, site.root)
    code, git = code_mount(site.store).digest, git_state(site.root, site.results)
    states: list[EnvironmentState] = []
    runs: list[Golden] = []
    with site.progress.task(f"Baseline {release}", total=len(environments) * (1 + len(requests))) as task:
        for name in environments:
            states.append(_surveyed(name, site))
            task.advance()
            for request in requests:
                site.progress.note(f"Golden run of {request.experiment} in {name}")
                run = run_golden(name, request.experiment, request.quick, site)
                runs.append(golden_of(run, name, request.experiment, request.quick))
                task.advance()
    if (code, git) != (code_mount(site.store).digest, git_state(site.root, site.results)):
        raise UsageError(
            "The checkout changed while its baseline was made", hint="Make it again, and leave the files alone."
        )
    baseline = sealed(
        release=release,
        project=site.project,
        architecture=platform.machine(),
        commit=git.commit,
        dirty=_dirty(git, path),
        code=code,
        environments=states,
        golden=runs,
    )
    return baseline, write_baseline(baseline, site, replace=replace) if write else path


def _dirty(git: GitState, path: Path) -> bool | None:
    """Whether anything but the baseline itself keeps the tree from being its commit: made again, it is there."""
    own = "/" + "/".join(path.absolute().parts[-3:])
    return None if git.dirty is None else any(not f"/{name}".endswith(own) for name in git.files)


def _surveyed(name: str, site: Site) -> EnvironmentState:
    state = observe(name, site, fresh=True).state
    if state.survey is None:
        raise PrerequisiteError(
            f"The environment {name} cannot be surveyed here: {state.unsurveyed}",
            hint="A baseline holds what was seen: leave it out, or make the baseline where it runs.",
        )
    return state


def checked_golden(golden: Sequence[GoldenRequest], site: Site) -> tuple[GoldenRequest, ...]:
    """The golden runs, each experiment there and, where it is a path, below the checkout."""
    requests = tuple(GoldenRequest(_below(request.experiment, site.root), request.quick) for request in golden)
    for request in requests:
        if requests.count(request) > 1:
            raise UsageError(f"The golden run {request.experiment} is given twice", hint="Keep one of the two.")
    return requests


def _below(experiment: str, root: Path) -> str:
    """An experiment as a later check will find it: its name, or its path relative to the checkout."""
    file = find_experiment(experiment, root)
    if file != root / experiment:
        return experiment
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        raise UsageError(
            f"The experiment {experiment} lies outside the checkout {root}, where no later check would find it",
            hint="Put it into the checkout, and commit it.",
        ) from None
