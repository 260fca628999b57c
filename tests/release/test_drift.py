"""The check as a whole: environments are told instead of run; assessing, rules and waivers are the real ones."""

import platform
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.errors import ExitCode, HarnessError, IncomparableError, IntegrityError, UsageError
from harness.record.hashing import signature
from harness.release import drift as drift_module
from harness.release import golden as golden_module
from harness.release.baseline import Baseline, Golden, sealed, write_baseline
from harness.release.drift import DriftRequest, check_drift, exit_code_of, pairs_of
from harness.release.observe import Observation
from harness.release.report import (
    NUMBERS,
    Answer,
    Change,
    DriftReport,
    EnvironmentDrift,
    GoldenCell,
    Kind,
    Layer,
    NotTested,
    Severity,
    WaiverOutcome,
    WaiverState,
)
from harness.release.site import Site
from harness.release.state import EnvironmentState
from harness.release.waivers import draft_waivers
from harness.runs.inputs import code_mount
from harness.spec.run import Profile
from harness.store.progress import SILENT
from harness.store.store import Store

ROOT = Path(__file__).parents[2]
DIGEST = signature("a digest")
TODAY = datetime.now(UTC).date()


def change(**fields: Any) -> Change:
    return Change(
        **{
            "environment": "cpu", "layer": Layer.WHEEL, "path": "numpy", "kind": Kind.UPGRADED, "before": "1",
            "after": "2", "severity": Severity.MAJOR, "why": "", "can_move_numbers": True,
            "numbers": Answer.UNCHANGED, "fingerprint": DIGEST, **fields,
        }
    )  # fmt: skip


def cell(**fields: Any) -> GoldenCell:
    return GoldenCell(
        **{
            "experiment": "e", "target": "t", "view": "v", "symbol": None, "family": "f", "answer": Answer.UNCHANGED,
            "before": DIGEST, "after": DIGEST, **fields,
        }
    )  # fmt: skip


def drift(**fields: Any) -> EnvironmentDrift:
    return EnvironmentDrift(
        **{
            "name": "cpu", "candidate": "cpu", "environment": Answer.UNCHANGED, "numbers": Answer.UNCHANGED,
            "tested_by": ("probe",), "not_tested": (), "changes": (), "golden": (), "expired": (),
            "measured_at": None, **fields,
        }
    )  # fmt: skip


def outcome(state: WaiverState) -> WaiverOutcome:
    return WaiverOutcome(id="w", author="a", reason="r", expires="2027-01-01", state=state, detail="")


MOVED = {"layer": Layer.PROBE, "path": "numpy/exp64", "kind": Kind.CHANGED, "numbers": Answer.CHANGED}
UNTESTED = {"numbers": Answer.NOT_TESTED, "severity": Severity.NONE}
FOLLOWS = {"layer": Layer.IMAGE, "path": "manifest", "follows_from": ("wheel numpy",)}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 0),
        ({"changes": (change(),), "environment": Answer.CHANGED}, 1),
        ({"changes": (change(waived_by="w"),), "environment": Answer.CHANGED}, 0),
        ({"changes": (change(severity=Severity.NONE),), "environment": Answer.CHANGED}, 0),
        ({"changes": (change(waived_by="w"), change(**FOLLOWS))}, 0),
        ({"changes": (change(), change(**FOLLOWS))}, 1),
        ({"changes": (change(**MOVED, severity=Severity.NONE),), "numbers": Answer.CHANGED}, 1),
        ({"changes": (change(**MOVED, follows_from=("wheel numpy",)),), "numbers": Answer.CHANGED}, 1),
        ({"changes": (change(**MOVED, waived_by="w"),), "numbers": Answer.CHANGED}, 0),
        ({"numbers": Answer.CHANGED}, 1),
        ({"numbers": Answer.NOT_TESTED}, 3),
        ({"environment": Answer.NOT_TESTED}, 3),
        ({"not_tested": (NotTested("golden", "no time"),)}, 3),
        ({"golden": (cell(answer=Answer.NOT_TESTED),)}, 3),
        ({"changes": (change(**UNTESTED),)}, 3),
        ({"changes": (change(**UNTESTED, waived_by="w"),)}, 3),
        ({"changes": (change(severity=Severity.NONE), change(**FOLLOWS | UNTESTED))}, 3),
        ({"changes": (change(numbers=Answer.NOT_TESTED),), "numbers": Answer.NOT_TESTED}, 1),
    ],
)
def test_the_exit_code_of_one_environment(fields: dict[str, Any], code: int) -> None:
    assert exit_code_of([drift(**fields)], []) == code
    assert exit_code_of([drift(), drift(**fields), drift()], []) == code


@pytest.mark.parametrize(
    ("state", "alone", "beside_untested"),
    [
        (WaiverState.USED, 0, 3),
        (WaiverState.NOT_EXAMINED, 0, 3),
        (WaiverState.EXPIRED, 1, 1),
        (WaiverState.UNMATCHED, 1, 1),
    ],
)
def test_a_waiver_that_does_not_hold_fails_a_check(state: WaiverState, alone: int, beside_untested: int) -> None:
    assert exit_code_of([drift()], [outcome(state)]) == alone
    assert exit_code_of([drift(numbers=Answer.NOT_TESTED)], [outcome(state)]) == beside_untested


answers = st.sampled_from(Answer)
changes = st.builds(
    change,
    layer=st.sampled_from(Layer),
    severity=st.sampled_from(Severity),
    numbers=st.none() | answers,
    follows_from=st.sampled_from([(), ("wheel numpy",)]),
    waived_by=st.sampled_from([None, "w"]),
)
drifts = st.builds(
    drift,
    environment=answers,
    numbers=answers,
    not_tested=st.sampled_from([(), (NotTested("a", "b"),)]),
    changes=st.lists(changes, max_size=4).map(tuple),
    golden=st.lists(st.builds(cell, answer=answers), max_size=2).map(tuple),
)


@given(st.lists(drifts, min_size=1, max_size=3))
def test_nothing_that_was_not_tested_ever_passes(found: list[EnvironmentDrift]) -> None:
    untested = b'"not tested"' in msgspec.json.encode(found) or any(each.not_tested for each in found)
    assume(untested)
    assert exit_code_of(found, []) in (ExitCode.DIVERGENT, ExitCode.INCOMPARABLE)


@given(st.lists(drifts, min_size=1, max_size=3))
def test_no_change_of_numbers_passes_unless_somebody_answers_for_it(found: list[EnvironmentDrift]) -> None:
    assume(any(not item.waived_by and (item.fails or item.layer in NUMBERS) for each in found for item in each.changes))
    assert exit_code_of(found, []) == ExitCode.DIVERGENT


class Place:
    """A checkout with the real specs and locks, whose environments say what a test lets them say."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, state: Callable[..., EnvironmentState]) -> None:
        self.root = folder / "checkout"
        shutil.copytree(ROOT / "docker", self.root / "docker")
        shutil.copytree(ROOT / "lockfiles" / "cpu", self.root / "lockfiles" / "cpu")
        self.site = Site(root=self.root, store=Store(folder / "store"), progress=SILENT, results=folder / "RESULTS")
        self.state = state
        self.now: dict[str, EnvironmentState] = {"cpu": state()}
        self.asked: list[tuple[str, Profile, bool]] = []
        monkeypatch.setattr(drift_module, "observe", self._observe)

    def _observe(self, name: str, site: Site, *, profile: Profile, fresh: bool, **_: Any) -> Observation:
        assert site is self.site
        self.asked.append((name, profile, fresh))
        return Observation(state=self.now[name], measured_at="2026-11-22T00:00:00.000000Z")

    def baseline(self, *environments: EnvironmentState, golden: tuple[Golden, ...] = (), **fields: Any) -> Baseline:
        whole: dict[str, Any] = {
            "release": "v1", "project": "checkout", "architecture": platform.machine(), "commit": None, "dirty": None,
            "code": code_mount(self.site.store).digest, "environments": environments or (self.state(),),
            "golden": golden, **fields,
        }  # fmt: skip
        baseline = sealed(**whole)
        write_baseline(baseline, self.site, replace=True)
        return baseline

    def check(self, **fields: Any) -> DriftReport:
        return check_drift(DriftRequest(**fields), self.site)

    def variable(self, value: str) -> EnvironmentState:
        """The environment with another `OMP_NUM_THREADS` when it was run."""
        state = self.state()
        assert state.survey is not None
        variables = {**state.survey.variables, "OMP_NUM_THREADS": value}
        return msgspec.structs.replace(state, survey=msgspec.structs.replace(state.survey, variables=variables))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Callable[..., EnvironmentState]) -> Place:
    return Place(tmp_path, monkeypatch, state)


def test_an_unchanged_environment_has_no_change_and_passes(place: Place) -> None:
    baseline = place.baseline()
    report = place.check()
    (found,) = report.environments
    assert (report.exit_code, found.changes, found.not_tested) == (0, (), ())
    assert (found.environment, found.numbers, found.tested_by) == (Answer.UNCHANGED, Answer.UNCHANGED, ("probe",))
    assert (report.project, report.baseline, report.baseline_digest) == ("checkout", "v1", baseline.digest)
    assert (found.measured_at, report.waivers) == ("2026-11-22T00:00:00.000000Z", ())


def test_a_change_is_named_fails_and_passes_once_somebody_answers_for_it(place: Place) -> None:
    place.baseline()
    place.now["cpu"] = place.variable("8")
    report = place.check()
    named = {item.name: (item.before, item.after) for item in report.environments[0].changes if item.fails}
    assert named == {"variable OMP_NUM_THREADS": ("1", "8")}
    assert report.exit_code == 1
    draft = draft_waivers(report)
    for key, value in (("author", "Ada"), ("reason", "Fine"), ("expires", TODAY + timedelta(9))):
        draft = draft.replace(f'{key}: ""', f"{key}: {value}")
    own = place.site.baselines / "v1.waivers.yaml"
    own.write_text(draft)
    report = place.check()
    assert (report.exit_code, [each.state for each in report.waivers]) == (0, [WaiverState.USED])
    place.now["cpu"] = place.state()
    report = place.check()
    assert (report.exit_code, [each.state for each in report.waivers]) == (1, [WaiverState.UNMATCHED])
    own.write_text(draft.replace(str(TODAY + timedelta(9)), str(TODAY - timedelta(1))))
    report = place.check()
    assert (report.exit_code, [each.state for each in report.waivers]) == (1, [WaiverState.EXPIRED])
    assert place.check(waivers=_file(place.root / "other.yaml", "waivers: []\n")).exit_code == 0


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _waiver(environment: str = "cpu", layer: str = "wheel", path: str = "numpy") -> str:
    return (
        f"waivers:\n  - {{id: w, author: a, reason: r, expires: {TODAY}, environment: {environment},"
        f" covers: [{{layer: {layer}, path: {path}, before: a, after: b}}]}}\n"
    )


@pytest.mark.parametrize(
    ("waiver", "wanted"),
    [
        (_waiver(), WaiverState.UNMATCHED),
        (_waiver("typo"), WaiverState.UNMATCHED),
        (_waiver("other"), WaiverState.NOT_EXAMINED),
        (_waiver(layer="golden", path="e/t/v/all/f"), WaiverState.NOT_EXAMINED),
        (_waiver(layer="probe", path="numpy/exp64"), WaiverState.UNMATCHED),
    ],
)
def test_a_waiver_of_what_was_not_looked_at_is_not_examined(place: Place, waiver: str, wanted: WaiverState) -> None:
    place.baseline(place.state(), place.state(name="other"))
    report = place.check(candidates=("cpu",), waivers=_file(place.root / "w.yaml", waiver))
    assert [each.state for each in report.waivers] == [wanted]
    assert report.exit_code == (1 if wanted is WaiverState.UNMATCHED else 0)


def test_where_no_survey_can_be_made_nothing_passes_and_what_it_would_tell_is_not_examined(place: Place) -> None:
    place.baseline()
    place.now["cpu"] = place.state(survey=None, unsurveyed="no Docker daemon answers")
    for layer, state in (("probe", WaiverState.NOT_EXAMINED), ("os-package", WaiverState.UNMATCHED)):
        report = place.check(waivers=_file(place.root / "w.yaml", _waiver(layer=layer)))
        assert [each.state for each in report.waivers] == [state]
    report = place.check()
    assert report.exit_code == 3
    assert report.environments[0].numbers is Answer.NOT_TESTED
    assert "no Docker daemon answers" in msgspec.json.encode(report).decode()


def test_an_environment_whose_spec_is_gone_is_not_tested(place: Place) -> None:
    place.baseline()
    (place.root / "docker" / "cpu.yaml").unlink()
    report = place.check()
    (found,) = report.environments
    assert (report.exit_code, found.environment, found.numbers) == (3, Answer.NOT_TESTED, Answer.NOT_TESTED)
    assert "docker/cpu.yaml" in found.not_tested[0].reason
    assert place.asked == []


def test_each_environment_is_observed_in_the_profile_of_its_baseline(place: Place) -> None:
    other = place.state(name="cpu-prev", profile=Profile.X86_64_V3)
    place.now["cpu-prev"] = other
    place.baseline(place.state(), other)
    place.check()
    place.check(candidates=("cpu-prev",), fresh=True)
    native, capped = Profile.NATIVE, Profile.X86_64_V3
    assert place.asked == [("cpu", native, False), ("cpu-prev", capped, False), ("cpu-prev", capped, True)]


def test_a_candidate_of_another_name_is_held_against_the_environment_given(place: Place) -> None:
    baseline = place.baseline(place.state(), place.state(name="host"))

    def pairs(**fields: Any) -> list[tuple[str, str]]:
        return [(pair.environment, pair.candidate) for pair in pairs_of(DriftRequest(**fields), baseline)]

    assert pairs() == [("cpu", "cpu"), ("host", "host")]
    assert pairs(environment="host") == [("host", "host")]
    assert pairs(candidates=("new", "cpu"), environment="cpu") == [("cpu", "new"), ("cpu", "cpu")]
    with pytest.raises(UsageError, match="no environment 'new'") as caught:
        pairs(candidates=("new",))
    assert "--environment cpu or host" in str(caught.value)
    with pytest.raises(UsageError, match="no environment 'cpo'") as caught:
        pairs(environment="cpo")
    assert "Did you mean cpu?" in str(caught.value)
    with pytest.raises(UsageError, match="'cpu' is given twice"):
        pairs(candidates=("cpu", "host", "cpu"))
    baseline = place.baseline()
    assert pairs(candidates=("new",)) == [("cpu", "new")]


@pytest.mark.parametrize("others", [(), ("host",)])
def test_a_candidate_that_is_nowhere_is_called_that_first(place: Place, others: tuple[str, ...]) -> None:
    place.baseline(place.state(), *(place.state(name=name) for name in others))
    for fields in ({}, {"environment": "cpu"}):
        with pytest.raises(UsageError, match="no environment 'cpux' in the checkout or the baseline v1") as caught:
            place.check(candidates=("cpux",), **fields)
        assert "Did you mean cpu?" in str(caught.value)
    assert place.asked == []


def test_a_candidate_of_the_checkout_alone_is_held_against_the_baseline(place: Place) -> None:
    place.baseline()
    place.now["cpu-prev"] = place.state(name="cpu-prev")
    report = place.check(candidates=("cpu-prev",))
    assert [(each.name, each.candidate) for each in report.environments] == [("cpu", "cpu-prev")]


def test_the_baseline_s_golden_cells_are_named_whether_they_were_run_or_not(
    place: Place, golden: Callable[..., Golden]
) -> None:
    run = golden()
    place.baseline(place.state(), place.state(name="host"), golden=(run,))
    place.now["host"] = place.state(name="host")
    cpu, host = place.check().environments
    assert [(each.experiment, each.target) for each in cpu.known_golden] == [
        (run.experiment, result.target) for result in run.cells
    ]
    assert cpu.known_golden[2].path == "determinism_test/fwd_ret_10d/SYMBOL_SPECIFIC/AAPL/lightgbm"
    assert (cpu.golden, host.known_golden) == ((), ())
    (place.root / "docker" / "cpu.yaml").unlink()
    (gone,) = place.check(candidates=("cpu",)).environments
    assert gone.known_golden == cpu.known_golden


def test_a_candidate_of_another_name_is_told_apart_in_the_report(place: Place) -> None:
    place.baseline()
    shutil.copy(ROOT / "docker" / "cpu.yaml", place.root / "docker" / "new.yaml")
    place.now["new"] = msgspec.structs.replace(place.variable("8"), name="new")
    report = place.check(candidates=("new",))
    (found,) = report.environments
    assert (found.name, found.candidate, report.exit_code) == ("cpu", "new", 1)
    assert "variable OMP_NUM_THREADS" in {item.name for item in found.changes}


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"project": "another"}, UsageError, "another"),
        ({"architecture": "aarch64"}, IncomparableError, "aarch64"),
    ],
)
def test_a_baseline_of_something_else_is_refused(
    place: Place, fields: dict[str, str], error: type[HarnessError], named: str
) -> None:
    place.baseline(**fields)
    with pytest.raises(error, match=named):
        place.check()
    assert place.asked == []


def test_a_baseline_with_a_changed_byte_is_an_integrity_failure(place: Place) -> None:
    place.baseline()
    path = place.site.baselines / "v1.json"
    path.write_text(path.read_text().replace('"OMP_NUM_THREADS": "1"', '"OMP_NUM_THREADS": "8"'))
    with pytest.raises(IntegrityError, match=r"v1\.json"):
        place.check()
    assert place.asked == []


def test_files_are_read_before_anything_is_run(place: Place) -> None:
    place.baseline()
    for fields in ({"rules": place.root / "no.yaml"}, {"waivers": place.root / "no.yaml"}, {"baseline": "v2"}):
        with pytest.raises(UsageError):
            place.check(**fields)
    assert place.asked == []


def test_golden_runs_that_the_baseline_does_not_hold_are_not_passed_over(
    place: Place, golden: Callable[..., Golden]
) -> None:
    place.baseline(place.state(), place.state(name="host"), golden=(golden(),))
    with pytest.raises(UsageError, match="v1 holds no golden run of host"):
        place.check(golden=True, candidates=("host",))
    assert place.asked == []


def test_an_environment_without_golden_runs_is_not_tested_where_another_has_some(
    place: Place, golden: Callable[..., Golden], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Golden = golden()
    place.baseline(place.state(), place.state(name="host"), golden=(run,))
    place.now["host"] = place.state(name="host")
    cells = [
        cell(experiment=run.experiment, target=one.target, view=one.view, symbol=one.symbol, family=one.family,
             before=one.fingerprint, after=one.fingerprint, answer=Answer.UNCHANGED)
        for one in run.cells
    ]  # fmt: skip
    monkeypatch.setattr(golden_module, "check_golden", lambda *_: (tuple(cells), ()))
    report = place.check(golden=True)
    untested = {each.name: [item.what for item in each.not_tested] for each in report.environments}
    assert (report.exit_code, untested) == (3, {"cpu": [], "host": ["golden runs"]})
    assert "v1 holds none of host" in report.environments[-1].not_tested[0].reason
    assert place.check(golden=True, candidates=("cpu",)).exit_code == 0
    assert place.check().exit_code == 0


def test_a_locked_image_that_the_baseline_does_not_have_is_mentioned_and_fails_nothing(place: Place) -> None:
    place.baseline()
    for name in ("new", "unlocked"):
        shutil.copy(ROOT / "docker" / "cpu.yaml", place.root / "docker" / f"{name}.yaml")
    shutil.copytree(ROOT / "lockfiles" / "cpu", place.root / "lockfiles" / "new")
    report = place.check()
    assert (report.exit_code, report.unbaselined) == (0, ("new",))
    place.now["new"] = place.state(name="new")
    assert place.check(candidates=("new",)).unbaselined == ()
    place.baseline(place.state(), place.state(name="new"))
    assert place.check().unbaselined == ()


def test_golden_runs_are_run_only_when_asked_for(
    place: Place, golden: Callable[..., Golden], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Golden = golden()
    place.baseline(golden=(run,))
    asked = []

    def check_golden(goldens: Any, before: Any, after: Any, site: Site, **_: Any) -> Any:
        asked.append((goldens, before, after))
        same, *rest = run.cells
        cells = [
            cell(experiment=run.experiment, target=one.target, view=one.view, symbol=one.symbol, family=one.family,
                 before=one.fingerprint, after=after, answer=answer)
            for one, after, answer in (
                (same, same.fingerprint, Answer.UNCHANGED), (rest[0], DIGEST, Answer.CHANGED),
                (rest[1], None, Answer.NOT_TESTED),
            )
        ]  # fmt: skip
        return tuple(cells), ()

    monkeypatch.setattr(golden_module, "check_golden", check_golden)
    report = place.check()
    assert (report.exit_code, report.environments[0].tested_by, asked) == (0, ("probe",), [])
    waivers = []
    for number, one in enumerate(run.cells):
        path = "/".join((run.experiment, one.target, one.view, one.symbol or "all", one.family))
        waivers.append(_waiver(layer="golden", path=path).replace("id: w", f"id: w{number}").partition("\n")[2])
    report = place.check(golden=True, waivers=_file(place.root / "w.yaml", "waivers:\n" + "".join(waivers)))
    (found,) = report.environments
    assert report.exit_code == 1
    assert asked[0][0] == (run,)
    assert "golden" in found.tested_by
    assert found.numbers is Answer.CHANGED
    states = [each.state for each in report.waivers]
    assert states == [WaiverState.UNMATCHED, WaiverState.UNMATCHED, WaiverState.NOT_EXAMINED]
