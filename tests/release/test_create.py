"""Making a baseline, with surveys and golden runs played: what goes into it, and what is refused before any work."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode, HarnessError, PrerequisiteError, UsageError
from harness.record.archive import LoadedRun
from harness.release import create as module
from harness.release.baseline import read_baseline
from harness.release.create import GoldenRequest, create_baseline
from harness.release.observe import Observation
from harness.runs.inputs import code_mount

EXPERIMENT = """
name: ours
data: {path: panel.csv}
features: [ret_1d]
targets: [fwd_ret_5d]
families:
  ridge: {alpha: 1.0}
"""
SPEC = """
name: %s
variant: cpu
debian: {suite: bookworm, component: main, architecture: amd64, packages: [bash]}
python: {version: "3.11", platform: x86_64-manylinux_2_36, requirements: [numpy]}
"""


class Played:
    """Stands in for surveys and golden runs: what was asked, in its order."""

    def __init__(self, state: Callable[..., Any], golden: Callable[..., Any]) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.fields: dict[str, Any] = {}
        self._state, self._golden = state, golden

    def observe(self, name: str, site: Any, *, fresh: bool) -> Observation:
        assert fresh, "a baseline takes nothing that was measured before"
        self.asked.append((name,))
        return Observation(state=self._state(name=name, **self.fields), measured_at="2026-01-02T03:04:05.000000Z")

    def run_golden(self, name: str, experiment: str, quick: bool, site: Any) -> LoadedRun:
        self.asked.append((name, experiment, "quick" if quick else "full"))
        self.meanwhile()
        return LoadedRun(site.results, None, ())  # type: ignore[arg-type] # `golden_of` is played too

    def golden_of(self, run: LoadedRun, environment: str, experiment: str, quick: bool) -> Any:
        return self._golden(environment=environment, experiment=experiment, quick=quick)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, state: Any, golden: Any, site: Any) -> Played:
    """A checkout under version control with two images and an experiment, in which surveys and runs are played."""
    (site.root / "docker").mkdir()
    for name in ("cpu", "cpu-prev"):
        (site.root / "docker" / f"{name}.yaml").write_text(SPEC % name)
    (site.root / "ours.yaml").write_text(EXPERIMENT)
    git(site.root, "init", "--quiet")
    git(site.root, "add", ".")
    git(site.root, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=all")
    played = Played(state, golden)
    for name in ("observe", "run_golden", "golden_of"):
        monkeypatch.setattr(module, name, getattr(played, name))
    return played


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def create(site: Any, release: str = "v1.2", **changes: Any) -> Any:
    asked: dict[str, Any] = {"environments": ["cpu"], "golden": [GoldenRequest("determinism_test", True)]}
    return create_baseline(release, site, **asked | changes)


def test_a_baseline_holds_every_environment_and_every_golden_run_in_each(played, site):
    runs = [GoldenRequest("determinism_test", True), GoldenRequest("ours.yaml")]
    baseline, path = create(site, environments=["cpu-prev", "cpu", "host"], golden=runs)
    assert played.asked == [
        step
        for name in ("cpu-prev", "cpu", "host")
        for step in ((name,), (name, "determinism_test", "quick"), (name, "ours.yaml", "full"))
    ]
    assert list(baseline.environments) == ["cpu", "cpu-prev", "host"]
    assert [(run.environment, run.experiment) for run in baseline.golden] == sorted(
        (name, experiment) for name in ("cpu", "cpu-prev", "host") for experiment in ("determinism_test", "ours.yaml")
    )
    assert (baseline.commit, baseline.dirty) == (git(site.root, "rev-parse", "HEAD"), False)
    assert baseline.code == code_mount(site.store).digest
    assert baseline.project == "project"
    assert read_baseline(path) == baseline


def test_the_same_release_made_twice_gives_the_same_bytes(played, site):
    _, path = create(site)
    first = path.read_bytes()
    create(site)
    assert path.read_bytes() == first
    assert "nothing changed" in site.progress.notes[-1]


def test_another_release_made_beside_it_is_of_a_tree_that_is_not_clean(played, site):
    assert create(site)[0].dirty is False
    assert create(site, "v1.3")[0].dirty is True
    (site.root / "ours.yaml").write_text(EXPERIMENT + "\n")
    assert create(site, replace=True)[0].dirty is True


def test_outside_version_control_there_is_no_commit(played, site):
    (site.root / ".git").rename(site.root.parent / "git")
    baseline, _ = create(site)
    assert (baseline.commit, baseline.dirty) == (None, None)


def test_without_write_nothing_is_written(played, site):
    baseline, path = create(site, write=False)
    assert path == site.root / "lockfiles/baselines/v1.2.json"
    assert not path.exists()
    assert create(site)[0] == baseline


def test_another_content_is_refused_unless_it_is_to_replace(played, site):
    create(site)
    with pytest.raises(UsageError, match="another content"):
        create(site, golden=[])
    assert create(site, golden=[], replace=True)[0].golden == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"release": "../v1"}, "release"),
        ({"environments": []}, "at least one environment"),
        ({"environments": ["cpu", "cpu"]}, "cpu is given twice"),
        ({"environments": ["cpu", "gpu"]}, "gpu.yaml"),
        ({"golden": [GoldenRequest("determinism_test")] * 2}, "determinism_test is given twice"),
        ({"golden": [GoldenRequest("nothing")]}, "'nothing'"),
        ({"golden": [GoldenRequest("ours.yaml"), GoldenRequest("./ours.yaml")]}, "ours.yaml is given twice"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(played, site, changes, named):
    with pytest.raises(UsageError, match=named):
        create(site, **changes)
    assert played.asked == []


def test_a_release_that_another_spelling_stands_for_is_refused_before_any_work(played, site):
    create(site)
    played.asked.clear()
    with pytest.raises(UsageError, match="same as"):
        create(site, "V1.2")
    assert played.asked == []


def test_an_experiment_is_kept_as_a_path_below_the_checkout(played, site):
    for given in ("ours.yaml", "./ours.yaml", str(site.root / "ours.yaml"), f"../{site.root.name}/ours.yaml"):
        baseline, _ = create(site, golden=[GoldenRequest(given)], write=False)
        assert baseline.golden[0].experiment == "ours.yaml"
    outside = site.root.parent / "theirs.yaml"
    outside.write_text(EXPERIMENT)
    for given in (str(outside), "../theirs.yaml"):
        with pytest.raises(UsageError, match="outside the checkout"):
            create(site, golden=[GoldenRequest(given)])


def test_an_environment_that_cannot_be_surveyed_is_refused_with_the_reason(played, site):
    played.fields = {"survey": None, "unsurveyed": "this machine has no GPU"}
    with pytest.raises(PrerequisiteError, match="this machine has no GPU") as refused:
        create(site)
    assert refused.value.exit_code == ExitCode.USAGE
    assert not site.baselines.exists()


def test_a_golden_run_that_fails_ends_it_and_nothing_is_written(played, site):
    def fail() -> None:
        raise HarnessError("the trainer failed")

    played.meanwhile = fail
    with pytest.raises(HarnessError, match="the trainer failed"):
        create(site)
    assert not site.baselines.exists()


def test_files_that_change_meanwhile_are_noticed(played, site):
    played.meanwhile = lambda: (site.root / "new.txt").touch()
    with pytest.raises(UsageError, match="changed while"):
        create(site)
    assert not site.baselines.exists()
    assert create(site)[0].dirty is True
