"""A release check as a whole: images, golden runs, surveys and drift are played, the checkout and its git are real."""

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.lockfile import read_lock
from harness.record.archive import LoadedRun
from harness.record.cells import Cell, RunLabel
from harness.record.fingerprints import cell_fingerprint
from harness.record.hashing import digest_of, digest_of_file
from harness.record.manifest import Manifest
from harness.record.snapshot import Code, EnvironmentRecord
from harness.record.verdicts import CellVerdict, Verdict
from harness.release import create as create_module
from harness.release import steps as module
from harness.release.baseline import read_baseline, write_baseline
from harness.release.check import ReleaseRequest, check_release
from harness.release.observe import Observation
from harness.release.report import Answer, DriftReport, EnvironmentDrift, NotTested, WaiverOutcome, WaiverState
from harness.release.signoff import SignOff, StepState
from harness.release.site import Site
from harness.spec.run import Resources, RunSpec

ROOT = Path(__file__).parents[2]
SPEC = RunSpec(run_id="r", image=None, argv=(), environment={}, mounts=(), output="/o", resources=Resources(cpus=(0,)))
WHEN = "2026-01-02T03:04:05.000000Z"
ORDER = ["tree", "locks", "images", "golden runs", "drift", "SBOMs", "baseline"]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(site: Site) -> str:
    git(site.root, "add", "--all")
    git(site.root, "commit", "--quiet", "--allow-empty", "--message=State")
    return git(site.root, "rev-parse", "HEAD")


class Played:
    """Stands in for images, runs, surveys and drift; each attribute says what it answers, `asked` what was asked."""

    def __init__(self, site: Site, state: Callable[..., Any], golden: Callable[..., Any]) -> None:
        self.site, self.asked = site, []  # type: ignore[var-annotated]
        self._state, self._golden = state, golden
        self.verdicts = [Verdict.IDENTICAL]
        self.outputs: list[dict[str, Any]] = [{}]
        self.code = 0
        self.drift: dict[str, Any] = {}
        self.waivers: tuple[WaiverOutcome, ...] = ()
        self.meanwhile: Callable[[], None] = lambda: None
        self.fails: dict[str, Exception] = {}

    def build(self, name: str, *, anew: bool, **_: Any) -> ImageLock:
        self._ask("build", name, anew)
        return read_lock(self.site.root / "lockfiles" / name / "image.lock", ImageLock, schema=SCHEMA)

    def image_sbom(self, name: str, **_: Any) -> bytes:
        self._ask("sbom", name)
        return f"the bill of {name}".encode()

    def run_golden(self, name: str, experiment: str, quick: bool, site: Site) -> LoadedRun:
        number = sum(kind == "golden" for kind, *_ in self.asked)
        self._ask("golden", name, experiment, quick)
        self.meanwhile()
        verdict = self.verdicts[min(number, len(self.verdicts) - 1)]
        changed = self.outputs[min(number, len(self.outputs) - 1)]
        label = RunLabel(WHEN, f"id-{number}", f"run-{number}")
        captured = self._state().survey.captured
        layers = {key: getattr(captured, key) for key in EnvironmentRecord.__struct_fields__ if key != "image"}
        cells, verdicts = [], []
        for result in self._golden().cells:
            found = {**result.outputs, **changed}
            cells.append(
                Cell(
                    run=label, experiment=experiment, cohort_id="cs_0", target=result.target, view=result.view,
                    symbol=result.symbol, family=result.family, group=result.group,
                    environment=EnvironmentRecord(image=None, **layers),
                    code=Code(commit=None, dirty=None, digest=digest_of(b"code")),
                    outputs=found, fingerprint=cell_fingerprint(found), metrics=result.metrics,
                )
            )  # fmt: skip
            verdicts.append(
                CellVerdict(
                    target=result.target, view=result.view, symbol=result.symbol, family=result.family,
                    verdict=verdict, reasons=(), against=None if verdict is Verdict.UNVERIFIED else "id-before",
                )
            )  # fmt: skip
        manifest = Manifest(
            run_name=label.run_name, run_id=label.run_id, created_at=WHEN, experiment=experiment, exit_code=0,
            run_spec=SPEC, cells=(), verdicts=tuple(verdicts), files={}, digest=digest_of(label.run_id.encode()),
        )  # fmt: skip
        folder = site.results / "runs" / label.run_name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(label.run_id)
        return LoadedRun(folder, manifest, tuple(cells))

    def check_drift(self, request: Any, site: Site) -> DriftReport:
        self._ask("drift", request.baseline, request.candidates, request.golden, request.fresh)
        drift = EnvironmentDrift(
            **{
                "name": "cpu", "candidate": "cpu", "environment": Answer.UNCHANGED, "numbers": Answer.UNCHANGED,
                "tested_by": ("probe", "golden"), "not_tested": (), "changes": (), "golden": (), "expired": (),
                "measured_at": WHEN, **self.drift,
            }
        )  # fmt: skip
        return DriftReport(
            project=site.project, baseline=request.baseline, baseline_digest=digest_of(b""), commit=None,
            created_at=WHEN, rules=digest_of(b""), environments=(drift,), waivers=self.waivers, exit_code=self.code,
        )  # fmt: skip

    def observe(self, name: str, site: Site, *, fresh: bool) -> Observation:
        self._ask("observe", name, fresh)
        return Observation(state=self._state(name=name), measured_at=WHEN)

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if what[0] in self.fails:
            raise self.fails[what[0]]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, site: Site, state: Any, golden: Any) -> Played:
    """The checkout's own CPU image in a repository of its own, and everything that takes time played."""
    (site.root / "docker").mkdir()
    (site.root / "lockfiles").mkdir()
    shutil.copy(ROOT / "docker" / "cpu.yaml", site.root / "docker")
    shutil.copytree(ROOT / "lockfiles" / "cpu", site.root / "lockfiles" / "cpu")
    for path in (ROOT / "pyproject.toml", *(ROOT / "lockfiles").glob("*.txt"), ROOT / "lockfiles" / "datasets.lock"):
        shutil.copy(path, site.root / path.relative_to(ROOT))
    git(site.root, "init", "--quiet", "--initial-branch=main")
    commit(site)
    played = Played(site, state, golden)
    for name in ("build", "run_golden", "check_drift"):
        monkeypatch.setattr(module, name, getattr(played, name))
    monkeypatch.setattr(create_module, "observe", played.observe)
    monkeypatch.setattr("harness.images.sbom.image_sbom", played.image_sbom)
    return played


@pytest.fixture
def released(played: Played, baseline: Any) -> Played:
    """The same after a release v1.2, whose baseline is committed."""
    site = played.site
    write_baseline(baseline(project=site.project, architecture=platform.machine()), site)
    commit(site)
    return played


def check(played: Played, **request: Any) -> tuple[SignOff, Path]:
    return check_release(ReleaseRequest(**{"release": "v1.3", **request}), played.site)


def step(page: SignOff, name: str) -> Any:
    return next(step for step in page.steps if step.name == name)


def kept(played: Played) -> Path:
    return played.site.baselines / "v1.3.json"


def test_golden_runs_that_the_last_baseline_does_not_hold_are_not_asked_of_the_drift_check(
    played: Played, baseline: Any
) -> None:
    site = played.site
    write_baseline(baseline(project=site.project, architecture=platform.machine(), golden=()), site)
    commit(site)
    page, _ = check(played)
    assert ("drift", "v1.2", ("cpu",), False, True) in played.asked
    assert "drift: the baseline v1.2 holds no golden run of them: the probe alone tells" in page.not_covered


def test_a_release_that_passes_leaves_its_baseline_and_a_page(released: Played) -> None:
    head = git(released.site.root, "rev-parse", "HEAD")
    page, folder = check(released)
    assert page.exit_code == 0
    assert [each.name for each in page.steps] == ORDER
    assert [each.state for each in page.steps] == [StepState.PASSED] * 7
    assert (page.commit, page.against, page.verdict) == (head, "v1.2", "Every step passed.")
    assert released.asked == [
        ("build", "cpu", True),
        ("golden", "cpu", "determinism_test", True),
        ("drift", "v1.2", ("cpu",), True, True),
        ("sbom", "cpu"),
        ("observe", "cpu", True),
    ]
    written = read_baseline(kept(released))
    assert (written.commit, written.dirty) == (head, False)
    assert [(run.environment, run.experiment, run.quick) for run in written.golden] == [
        ("cpu", "determinism_test", True)
    ]
    assert folder == released.site.results / "releases" / "v1.3"
    assert sorted(path.name for path in folder.iterdir()) == [
        "cpu.cdx.json", "drift.html", "drift.json", "sign-off.html", "sign-off.json", "sign-off.md",
    ]  # fmt: skip
    by_what = {item.what: item for item in page.evidence}
    assert by_what["baseline v1.3"].digest == digest_of_file(kept(released))
    assert by_what["drift report, json"].digest == digest_of_file(folder / "drift.json")
    assert by_what["golden run run-0"].digest == digest_of(b"id-0")
    assert by_what["golden run run-0"].where.endswith("runs/run-0/manifest.json")
    assert by_what["baseline v1.2"].where == "lockfiles/baselines/v1.2.json"
    assert by_what["lock of cpu"].digest == digest_of_file(released.site.root / "lockfiles/cpu/image.lock")


def test_a_dirty_tree_is_refused_with_its_files_before_anything_is_done(released: Played) -> None:
    for number in range(12):
        (released.site.root / f"new{number:02}").touch()
    with pytest.raises(UsageError, match="is not clean") as refused:
        check(released)
    assert refused.value.exit_code == 2
    first, *names = refused.value.message.splitlines()
    assert first.endswith("is not clean:")
    assert names == [f"  new{number:02}" for number in range(12)]
    assert released.asked == []
    assert not released.site.results.exists()


@pytest.fixture
def page_before(released: Played) -> Path:
    """The folder of a check of v1.3 from before: all that a check writes there, and a file of somebody else's."""
    folder = released.site.results / "releases" / "v1.3"
    folder.mkdir(parents=True)
    for name in ("sign-off.md", "sign-off.html", "sign-off.json", "drift.json", "drift.html", "notes.md"):
        (folder / name).write_text("Passed")
    return folder


def test_a_check_that_is_refused_leaves_no_page_of_the_same_release_from_before(
    released: Played, page_before: Path
) -> None:
    other = page_before.with_name("v1.1") / "sign-off.md"
    other.parent.mkdir()
    other.write_text("Passed")
    (released.site.root / "new").touch()
    with pytest.raises(UsageError, match="is not clean"):
        check(released)
    assert [path.name for path in page_before.iterdir()] == ["notes.md"]
    assert other.read_text() == "Passed"


@pytest.mark.parametrize("name", ["v1.3", "V1.3"])
def test_the_page_of_a_release_that_was_made_stays(
    released: Played, page_before: Path, baseline: Any, name: str
) -> None:
    site = released.site
    write_baseline(baseline(release="v1.3", project=site.project, architecture=platform.machine()), site)
    if name != "v1.3":
        page_before = page_before.rename(page_before.with_name(name))
    with pytest.raises(UsageError, match="baseline"):
        check(released, release=name)
    assert len([path for path in page_before.iterdir() if path.read_text() == "Passed"]) == 6


def test_a_checkout_that_is_in_no_repository_is_refused(released: Played) -> None:
    shutil.rmtree(released.site.root / ".git")
    with pytest.raises(UsageError, match="in no git repository"):
        check(released)


@pytest.mark.parametrize("name", ["v1.2", "V1.2", "v1.2.0"])
def test_a_name_that_is_taken_is_refused_before_anything_is_done(released: Played, name: str) -> None:
    with pytest.raises(UsageError, match=r"baseline"):
        check(released, release=name)
    assert released.asked == []
    assert not released.site.results.exists()


def test_the_same_release_cannot_be_made_twice(released: Played) -> None:
    check(released)
    commit(released.site)
    with pytest.raises(UsageError, match=r"The release v1\.3 has a baseline already"):
        check(released)


def test_without_a_baseline_only_a_first_release_is_checked(played: Played) -> None:
    with pytest.raises(UsageError, match="There is no baseline") as refused:
        check(played)
    assert "--first" in (refused.value.hint or "")
    page, folder = check(played, first=True)
    assert (page.exit_code, page.against, page.drift) == (0, None, None)
    assert step(page, "drift").state is StepState.NOT_DONE
    assert any(sentence.startswith("Drift: there is no earlier baseline") for sentence in page.not_covered)
    assert "first release" in (folder / "sign-off.md").read_text()
    assert [kind for kind, *_ in played.asked] == ["build", "golden", "sbom", "observe"]
    assert played.asked[1] == ("golden", "cpu", "determinism_test", False)
    assert read_baseline(kept(played)).release == "v1.3"


def test_a_first_release_after_others_is_refused(released: Played) -> None:
    with pytest.raises(UsageError, match=r"no first release: there is the baseline v1\.2"):
        check(released, first=True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"environments": ("nope",)}, "nope"), ({"environments": ("cpu", "cpu")}, "cpu"), ({"golden": ("nope",)}, "nope"),
     ({"baseline": "v0"}, "v0"), ({"release": "../x"}, r"\.\./x"), ({"golden": ("determinism_test",) * 2}, "twice")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    released: Played, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        check(released, **fields)
    assert released.asked == []


def refuses(played: Played, name: str, code: int, *said: str, **request: Any) -> SignOff:
    """A check in which one step is not passed: nothing is written down as released, and the page says it on top."""
    page, folder = check(played, **request)
    assert page.exit_code == code
    assert [each.name for each in page.steps if each.exit_code] == [name]
    assert not kept(played).exists()
    assert step(page, "baseline").state is StepState.NOT_DONE
    assert [each.name for each in page.steps] == ORDER
    text = (folder / "sign-off.md").read_text()
    assert "DO NOT RELEASE" in text.splitlines()[2]
    assert "DO NOT RELEASE" in (folder / "sign-off.html").read_text()
    for words in said:
        assert words in " ".join(step(page, name).seen)
    return page


def test_a_lock_that_does_not_fit_its_spec_fails_and_the_rest_goes_on(released: Played) -> None:
    spec = released.site.root / "docker" / "cpu.yaml"
    spec.write_text(spec.read_text().replace("harness", "somebody"))
    commit(released.site)
    page, _ = check(released)
    assert step(page, "locks").exit_code == 1
    assert "lockfiles/cpu/image.lock was made from another spec" in step(page, "locks").seen[0]
    assert ("build", "cpu", True) in released.asked
    assert not kept(released).exists()


def test_a_lock_that_git_ignores_fails(released: Played) -> None:
    (released.site.root / ".gitignore").write_text("lockfiles/cpu/extra.lock\n")
    commit(released.site)
    (released.site.root / "lockfiles" / "cpu" / "extra.lock").touch()
    refuses(released, "locks", 2, "lockfiles/cpu/extra.lock is not committed")


@pytest.mark.parametrize("name", ["rules.yaml", "v0.1.waivers.yaml"])
def test_what_judges_a_drift_is_of_the_commit_too(released: Played, name: str) -> None:
    baselines = released.site.baselines
    baselines.mkdir(parents=True, exist_ok=True)
    (released.site.root / ".git" / "info" / "exclude").write_text(f"{name}\n")
    (baselines / name).write_text("rules: []\n")
    refuses(released, "locks", 2, f"lockfiles/baselines/{name} is not committed")


def test_an_image_that_comes_out_otherwise_fails_and_the_rest_goes_on(released: Played) -> None:
    released.fails["build"] = IntegrityError("layer debian is another")
    page = refuses(released, "images", 4, "cpu: layer debian is another")
    assert [image.anew for image in page.images] == [False]
    assert [kind for kind, *_ in released.asked] == ["build", "golden", "drift", "sbom"]


def test_an_artifact_that_cannot_be_had_fails_the_images(released: Played) -> None:
    released.fails["build"] = PrerequisiteError("numpy.whl cannot be fetched")
    refuses(released, "images", 2, "numpy.whl cannot be fetched")


def test_a_golden_run_that_diverges_from_earlier_ones_fails(released: Played) -> None:
    released.verdicts = [Verdict.DIVERGENT]
    refuses(released, "golden runs", 1, "3 divergent")


def test_a_golden_run_without_earlier_ones_is_made_twice(released: Played) -> None:
    released.verdicts = [Verdict.UNVERIFIED]
    page, _ = check(released)
    assert page.exit_code == 0
    assert [kind for kind, *_ in released.asked] == ["build", "golden", "golden", "drift", "sbom", "observe"]
    assert page.golden[0].summary == "3 identical"
    assert page.golden[0].against == ("run-1",)
    assert {"golden run run-0", "golden run run-1"} <= {item.what for item in page.evidence}


def test_a_second_golden_run_that_differs_from_the_first_fails(released: Played) -> None:
    released.verdicts = [Verdict.UNVERIFIED]
    released.outputs = [{}, {"model": digest_of(b"another")}]
    page = refuses(released, "golden runs", 1, "3 divergent")
    assert page.golden[0].cells[0].reasons == ("model changed",)


def test_a_golden_run_that_cannot_be_made_fails_with_its_own_code(released: Played) -> None:
    released.fails["golden"] = IntegrityError("the run was not strict")
    refuses(released, "golden runs", 4, "determinism_test (quick) in cpu: the run was not strict")


def test_an_environment_that_cannot_run_here_was_not_tested_and_is_no_pass(
    released: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "obstacle", lambda *_: "It needs an NVIDIA GPU")
    page = refuses(released, "golden runs", 3, "cpu: not tested: It needs an NVIDIA GPU")
    assert step(page, "golden runs").state is StepState.NOT_DONE
    assert any("It needs an NVIDIA GPU" in sentence for sentence in page.not_covered)


@pytest.mark.parametrize(("code", "became"), [(1, "failed"), (3, "not done"), (4, "failed")])
def test_drift_refuses_the_release(released: Played, code: int, became: str) -> None:
    released.code = code
    released.drift = {"not_tested": (NotTested("golden determinism_test", "no time"),)}
    page = refuses(released, "drift", code)
    assert step(page, "drift").state == became
    assert "golden determinism_test in cpu: no time" in page.not_covered


def test_a_drift_check_that_ends_in_an_error_fails(released: Played) -> None:
    released.fails["drift"] = UsageError("v1.2.waivers.yaml, line 3: author is empty")
    refuses(released, "drift", 2, "author is empty")


def test_a_baseline_of_other_environments_says_nothing_of_these(released: Played) -> None:
    shutil.copytree(released.site.root / "lockfiles" / "cpu", released.site.root / "lockfiles" / "mine")
    spec = (released.site.root / "docker" / "cpu.yaml").read_text().replace("name: cpu", "name: mine", 1)
    (released.site.root / "docker" / "mine.yaml").write_text(spec)
    commit(released.site)
    page, _ = check(released, environments=("mine",))
    assert step(page, "drift").exit_code == 2
    assert "holds none of mine" in step(page, "drift").seen[0]
    assert "Environment cpu of the baseline v1.2: not part of this check." in page.not_covered
    assert not kept(released).exists()


def test_the_sbom_of_each_image_is_made_and_named_with_its_digest(released: Played) -> None:
    page, folder = check(released)
    path = folder / "cpu.cdx.json"
    assert path.read_bytes() == b"the bill of cpu"
    assert step(page, "SBOMs").state is StepState.PASSED
    assert (str(path), digest_of(b"the bill of cpu")) in {(item.where, item.digest) for item in page.evidence}


def test_an_sbom_that_cannot_be_made_fails_the_check_and_an_earlier_one_is_gone(released: Played) -> None:
    _, folder = check(released)
    (folder.parent / "v1.4").mkdir()
    (folder.parent / "v1.4" / "cpu.cdx.json").write_text("of another day")
    commit(released.site)
    released.fails["sbom"] = IntegrityError("a wheel is damaged")
    page, folder = check(released, release="v1.4")
    assert (step(page, "SBOMs").exit_code, page.exit_code) == (4, 4)
    assert not (folder / "cpu.cdx.json").exists()


def test_a_tree_that_changes_meanwhile_is_not_released(released: Played) -> None:
    late = [f"late{number:02}.py" for number in range(12)]
    released.meanwhile = lambda: [(released.site.root / name).touch() for name in late]  # type: ignore[assignment]
    page, folder = check(released)
    assert page.exit_code == 2
    said, *names, hint = step(page, "baseline").seen
    assert (said, names) == ("The tree changed while it was checked:", late)
    assert hint.startswith("Check again")
    text = (folder / "sign-off.md").read_text()
    assert "<br>".join(late) in text.replace("\\", "")
    assert not kept(released).exists()


def test_a_commit_made_meanwhile_is_not_released_either(released: Played) -> None:
    released.meanwhile = lambda: git(released.site.root, "commit", "--quiet", "--allow-empty", "--message=Late")  # type: ignore[assignment,return-value]
    page, _ = check(released)
    head = git(released.site.root, "rev-parse", "HEAD")
    assert step(page, "baseline").seen[0] == f"The tree changed while it was checked: it is at {head} now"
    assert not kept(released).exists()


def test_a_survey_that_cannot_be_made_leaves_no_baseline(released: Played) -> None:
    released.fails["observe"] = PrerequisiteError("no engine answers")
    page, _ = check(released)
    assert (page.exit_code, step(page, "baseline").seen) == (2, ("no engine answers",))
    assert not kept(released).exists()


def test_the_golden_runs_asked_for_take_the_place_of_the_baselines(released: Played) -> None:
    check(released, quick=False)
    assert released.asked[1] == ("golden", "cpu", "determinism_test", False)
    (released.site.root / "ours.yaml").write_text("name: ours\n")
    commit(released.site)
    released.asked.clear()
    page, _ = check(released, release="v1.4", golden=("ours.yaml",), quick=True)
    assert released.asked[1] == ("golden", "cpu", "ours.yaml", True)
    assert "All of ours.yaml: its quick variant was run." in page.not_covered


def test_waivers_stand_on_the_page_with_who_answers_for_them(released: Played) -> None:
    released.waivers = (
        WaiverOutcome(id="W-1", author="A. Author", reason="known | <b>", expires="2027-01-31",
                      state=WaiverState.USED, detail="covers 1 of the changes"),
    )  # fmt: skip
    _, folder = check(released)
    html = (folder / "sign-off.html").read_text()
    for text in ((folder / "sign-off.md").read_text(), html):
        for words in ("W-1", "A. Author", "2027-01-31"):
            assert words in text
    assert "known | &lt;b&gt;" in html
    assert "known | <b>" not in (folder / "sign-off.md").read_text()


def test_the_page_has_every_part_and_a_place_to_sign(released: Played) -> None:
    page, folder = check(released)
    markdown, html = ((folder / f"sign-off.{kind}").read_text() for kind in ("md", "html"))
    for part in (
        "Steps",
        "Images",
        "Drift since v1.2",
        "Waivers",
        "Golden runs",
        "Not covered",
        "Evidence",
        "Decision",
    ):
        assert f"## {part}" in markdown
        assert f"<h2>{part}</h2>" in html
    for line in ("Name", "Date", "Signature"):
        assert f"| {line} | |" in markdown
        assert f"<th>{line}</th><td></td>" in html
    assert markdown.count("✔") == 7
    assert markdown.endswith("| Signature | |\n")
    assert json.loads((folder / "sign-off.json").read_bytes())["exit_code"] == 0
    columns = [line.count("|") for line in markdown.splitlines() if line.startswith("|")]
    assert all(columns), "tables are rows of cells"
    assert msgspec.json.decode((folder / "sign-off.json").read_bytes(), type=SignOff) == page


def test_a_page_that_cannot_be_written_is_said(released: Played) -> None:
    released.site.results.mkdir(exist_ok=True)
    (released.site.results / "releases").write_text("in the way")
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        check(released)


def test_what_drift_says_beside_its_answers_stands_on_the_page(released: Played) -> None:
    released.drift = {"candidate": "cpu-prev", "unprobed": ("pandas",)}
    _, folder = check(released)
    for kind in ("md", "html"):
        text = (folder / f"sign-off.{kind}").read_text()
        assert "cpu (candidate cpu-prev)" in text
        assert "No probe looks at pandas: golden runs alone can." in text


def test_where_there_is_nothing_beside_the_answers_the_page_says_nothing(released: Played) -> None:
    _, folder = check(released)
    for kind in ("md", "html"):
        text = (folder / f"sign-off.{kind}").read_text()
        assert "candidate" not in text
        assert "No probe" not in text
