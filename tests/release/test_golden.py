"""Golden runs, with the runs themselves played: what is asked of each environment, and what is made of the answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.errors import IntegrityError, OutdatedLockError, PrerequisiteError, UsageError
from harness.locking.lockfile import encode_lock
from harness.record.archive import LoadedRun, StoredRun
from harness.record.cells import Cell, RunLabel
from harness.record.compare import SILENT_CHANGE
from harness.record.fingerprints import cell_fingerprint
from harness.record.hashing import digest_of, digest_of_file
from harness.record.layout import predictions_file
from harness.record.manifest import CellEntry, FileEntry, Manifest
from harness.record.snapshot import Code, EnvironmentRecord
from harness.release import golden as module
from harness.release import kept as kept_module
from harness.release.golden import check_golden, compare_golden, golden_of, same_environment
from harness.release.report import Answer
from harness.runs.opening import EngineName
from harness.spec.experiment import View
from harness.spec.run import Profile, Resources, RunSpec

COHORT = "cs_0123456789ab"
PREDICTIONS = (0.1, 0.2, 0.3)
SPEC = RunSpec(run_id="r", image=None, argv=(), environment={}, mounts=(), output="/o", resources=Resources(cpus=(0,)))


def digest(*parts: object) -> Any:
    return digest_of(repr(parts).encode())


@pytest.fixture
def run_of(state, golden, tmp_path) -> Callable[..., LoadedRun]:
    """`run_of(stored, outputs=…, group=…, metrics=…, predictions=…)`: a run that gave what is stored, but for that."""

    def make(
        stored: Any = None,
        *,
        outputs: dict[str, Any] | None = None,
        group: dict[str, Any] | None = None,
        metrics: dict[str, float | None] | None = None,
        predictions: tuple[float, ...] = PREDICTIONS,
        left_out: int = 0,
    ) -> LoadedRun:
        captured = state().survey.captured
        layers = {name: getattr(captured, name) for name in EnvironmentRecord.__struct_fields__ if name != "image"}
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        cells, files = [], {}
        for result in (stored or golden()).cells[left_out:]:
            found = {**result.outputs, **(outputs or {})}
            cells.append(
                Cell(
                    run=RunLabel("2026-01-02T03:04:05.000000Z", "r", "r"),
                    experiment="determinism_test",
                    cohort_id=COHORT,
                    target=result.target,
                    view=result.view,
                    symbol=result.symbol,
                    family=result.family,
                    group={**result.group, **(group or {})},
                    environment=EnvironmentRecord(image=None, **layers),
                    code=Code(commit=None, dirty=None, digest=digest("code")),
                    outputs=found,
                    fingerprint=cell_fingerprint(found),
                    metrics=metrics or result.metrics,
                )
            )
            name = predictions_file(result.target, View(result.view), result.symbol, COHORT, result.family)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(folder / name, np.array(predictions))
            files[name.as_posix()] = FileEntry(digest_of_file(folder / name), (folder / name).stat().st_size)
        manifest = Manifest(
            run_name="r", run_id="r", created_at="2026-01-02T03:04:05.000000Z", experiment="determinism_test",
            exit_code=0, run_spec=SPEC, cells=(), verdicts=(), files=files, digest=digest("manifest"),
        )  # fmt: skip
        return LoadedRun(folder, manifest, tuple(cells))

    return make


def answers(cells: tuple[Any, ...]) -> list[Answer]:
    return [cell.answer for cell in cells]


ELSEWHERE_NOW = {"environment_signature": digest("another"), "probe_signature": digest("another")}


def test_what_is_kept_of_a_run_is_what_the_run_holds(run_of, golden):
    stored = golden()
    assert golden_of(run_of(stored), "cpu", "determinism_test", True) == stored


def test_equal_outputs_are_unchanged_in_another_environment_too(run_of, golden):
    for group in ({}, ELSEWHERE_NOW):
        for cell in compare_golden(golden(), run_of(group=group), None):
            assert (cell.answer, cell.because_of, cell.reasons, cell.metric_deltas) == (Answer.UNCHANGED, None, (), {})
            assert cell.before == cell.after


def test_other_outputs_are_changed_and_named_with_the_metrics_that_moved(run_of, golden):
    outputs = {"predictions": digest("other"), "metrics": digest("other")}
    cells = compare_golden(golden(), run_of(outputs=outputs, metrics={"rmse": 0.075, "ic": None}), None)
    for cell in cells:
        assert cell.answer is Answer.CHANGED
        assert cell.reasons == ("metrics changed", "predictions changed")
        assert cell.because_of is None  # the baseline's own environment was not run
        assert cell.metric_deltas["rmse"].delta == pytest.approx(0.025)
        assert cell.metric_deltas["ic"].delta is None
        assert cell.before != cell.after


def test_predictions_that_change_under_unchanged_metrics_are_told(run_of, golden):
    cells = compare_golden(golden(), run_of(outputs={"predictions": digest("other")}), None)
    assert {cell.reasons for cell in cells} == {(SILENT_CHANGE,)}


@pytest.mark.parametrize(
    ("field", "value"),
    [("dataset_signature", digest("other")), ("hyperparameters_signature", digest("other")), ("train_seed", 43),
     ("mode", "best_effort"), ("profile", "x86-64-v3"), ("split_signature", digest("other")), ("threads_per_fit", 2)],
)  # fmt: skip
def test_another_question_is_not_tested_and_the_field_named_whatever_came_out(run_of, golden, field, value):
    for outputs in ({}, {"predictions": digest("other")}):
        candidate = run_of(group={field: value}, outputs=outputs)
        for again in (None, candidate, run_of()):
            for cell in compare_golden(golden(), candidate, again):
                assert (cell.answer, cell.because_of) == (Answer.NOT_TESTED, None)
                assert [field in reason for reason in cell.reasons] == [True]


def test_a_cell_that_is_gone_or_new_is_not_tested(run_of, golden):
    stored = golden()
    gone = compare_golden(stored, run_of(stored, left_out=1), None)
    assert answers(gone) == [Answer.NOT_TESTED, Answer.UNCHANGED, Answer.UNCHANGED]
    assert (gone[0].before, gone[0].after) == (stored.cells[0].fingerprint, None)
    fewer = msgspec.structs.replace(stored, cells=stored.cells[:-1])
    new = compare_golden(fewer, run_of(stored), None)
    assert answers(new) == [Answer.UNCHANGED, Answer.UNCHANGED, Answer.NOT_TESTED]
    assert (new[2].before, new[2].symbol) == (None, "AAPL")
    assert new[2].reasons != gone[0].reasons


def test_a_change_that_the_old_environment_does_not_show_is_the_environments(run_of, golden):
    moved = run_of(outputs={"predictions": digest("other")}, predictions=(0.1, 0.2, 0.4))
    for cell in compare_golden(golden(), moved, run_of()):
        assert (cell.answer, cell.because_of) == (Answer.CHANGED, module.ENVIRONMENT)
        assert (cell.distance.differing, cell.distance.largest) == (1, pytest.approx(0.1))


def test_a_change_that_the_old_environment_shows_too_is_not_the_environments(run_of, golden):
    moved = {"outputs": {"predictions": digest("other")}}
    for cell in compare_golden(golden(), run_of(**moved), run_of(**moved)):
        assert (cell.answer, cell.because_of) == (Answer.CHANGED, module.ELSEWHERE)
        assert cell.distance.differing == 0


def test_the_candidate_may_be_the_old_environment_itself_and_then_is_at_no_distance(run_of, golden):
    candidate = run_of(outputs={"predictions": digest("other")})
    for cell in compare_golden(golden(), candidate, candidate):
        assert (cell.answer, cell.because_of, cell.distance) == (Answer.CHANGED, module.ELSEWHERE, None)


class Shelf:
    """A results folder: its runs, oldest first, and which of them were read."""

    def __init__(self, monkeypatch, *runs: tuple[LoadedRun, int]) -> None:
        self.runs = {run.folder: run for run, _ in runs}
        self.index = tuple(self._stored(run, code) for run, code in runs)
        self.read: list[Path] = []
        self.damaged: set[Path] = set()
        monkeypatch.setattr(kept_module, "find_runs", lambda _: self.index)
        monkeypatch.setattr(kept_module, "load_run", self._load)

    @staticmethod
    def _stored(run: LoadedRun, code: int) -> StoredRun:
        entries = [
            CellEntry(
                experiment=cell.experiment, cohort_id=cell.cohort_id, target=cell.target, view=cell.view,
                symbol=cell.symbol, family=cell.family, group=cell.group_digest, fingerprint=cell.fingerprint,
                metrics=cell.metrics, snapshot="s.json",
            )
            for cell in run.cells
        ]  # fmt: skip
        label = RunLabel("2026-01-02T03:04:05.000000Z", "r", "r")
        return StoredRun(folder=run.folder, label=label, experiment="e", exit_code=code, cells=tuple(entries))

    def _load(self, folder: Path) -> LoadedRun:
        self.read.append(folder)
        if folder in self.damaged:
            raise IntegrityError("altered")
        return self.runs[folder]


MOVED = {"outputs": {"predictions": digest("other")}}


def test_in_the_same_environment_the_distance_is_from_a_kept_run_with_the_baselines_bits(
    monkeypatch, run_of, golden, state, site
):
    candidate, old = run_of(**MOVED, predictions=(0.1, 0.2, 0.4)), run_of()
    shelf = Shelf(monkeypatch, (old, 0), (candidate, 0))
    monkeypatch.setattr(module, "run_golden", Played(candidate))
    cells, _ = check_golden([golden()], state(), state(), site)
    assert {(cell.because_of, cell.distance.differing) for cell in cells} == {(module.ELSEWHERE, 1)}
    assert shelf.read == [old.folder]


def test_without_a_kept_run_of_the_same_group_key_and_bits_there_is_no_distance(
    monkeypatch, run_of, golden, state, site
):
    candidate, broken, refused = run_of(**MOVED), run_of(), run_of()
    others = [(run, 0) for run in (candidate, run_of(group={"train_seed": 7}), run_of(**MOVED), broken)]
    shelf = Shelf(monkeypatch, *others, (refused, 4))
    shelf.damaged = {broken.folder}
    monkeypatch.setattr(module, "run_golden", Played(candidate))
    cells, _ = check_golden([golden()], state(), state(), site)
    assert {(cell.answer, cell.distance) for cell in cells} == {(Answer.CHANGED, None)}
    assert shelf.read == [broken.folder]


def test_where_the_old_environment_cannot_be_run_a_kept_run_says_the_distance(
    monkeypatch, run_of, golden, state, site, other
):
    candidate = run_of(**MOVED, predictions=(0.1, 0.2, 0.4))
    Shelf(monkeypatch, (run_of(), 0))
    monkeypatch.setattr(module, "run_golden", Played(candidate, PrerequisiteError("torch is gone")))
    cells, _ = check_golden([golden()], state(), other, site)
    assert {(cell.because_of, cell.distance.differing) for cell in cells} == {(None, 1)}


def test_runs_are_not_looked_for_where_no_bit_changed(monkeypatch, run_of, golden, state, site):
    shelf = Shelf(monkeypatch, (run_of(), 0))
    monkeypatch.setattr(module, "run_golden", Played(run_of()))
    cells, _ = check_golden([golden()], state(), state(), site)
    assert {(cell.answer, cell.distance) for cell in cells} == {(Answer.UNCHANGED, None)}
    assert shelf.read == []


def test_unchanged_bits_have_no_cause_though_the_old_environment_gives_others(run_of, golden):
    for cell in compare_golden(golden(), run_of(), run_of(outputs={"predictions": digest("other")})):
        assert (cell.answer, cell.because_of) == (Answer.UNCHANGED, None)
        assert "does not give the stored bits now" in cell.reasons[0]


def test_an_old_environment_that_answers_another_question_settles_no_cause(run_of, golden):
    moved = run_of(outputs={"predictions": digest("other")})
    for cell in compare_golden(golden(), moved, run_of(group={"threads_per_fit": 2})):
        assert (cell.answer, cell.because_of) == (Answer.CHANGED, None)
        assert "threads_per_fit" in cell.reasons[-1]


def test_rows_that_do_not_pair_up_have_no_distance(run_of, golden):
    moved = run_of(outputs={"predictions": digest("other")}, predictions=(0.1,))
    assert {cell.distance for cell in compare_golden(golden(), moved, run_of())} == {None}


def test_a_run_without_predictions_has_no_distance(run_of, golden):
    bare = run_of()
    bare = msgspec.structs.replace(bare, manifest=msgspec.structs.replace(bare.manifest, files={}))
    assert {cell.distance for cell in compare_golden(golden(), run_of(), bare)} == {None}


class Played:
    """Stands in for `run_golden`: what was asked, and an answer for each environment by its root."""

    def __init__(self, candidate: Any, own: Any = None) -> None:
        self.answers = {"candidate": candidate, "own": own}
        self.asked: list[tuple[str, str, bool, Profile, dict[str, bytes] | None]] = []

    def __call__(
        self, name: str, experiment: str, quick: bool, site: Any, *, root: Path | None, profile: Profile
    ) -> LoadedRun:
        old = root is not None and root.is_relative_to(site.store.temporary)
        files = {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()} if old else None
        self.asked.append((name, experiment, quick, profile, files))
        answer = self.answers["own" if old else "candidate"]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def other(state, cpu_sources):
    """The state of the environment with another image."""
    image = msgspec.structs.replace(cpu_sources.image, manifest=digest("another manifest"))
    sources = msgspec.structs.replace(cpu_sources, image=image, image_digest=digest_of(encode_lock(image)))
    return state(sources=sources)


def test_the_same_image_is_run_once_a_golden(monkeypatch, run_of, golden, state, site):
    played = Played(run_of(outputs={"predictions": digest("other")}))
    monkeypatch.setattr(module, "run_golden", played)
    goldens = [golden(), golden(quick=False)]
    cells, untested = check_golden(goldens, state(), state(), site)
    assert [asked[:4] for asked in played.asked] == [
        ("cpu", "determinism_test", True, Profile.NATIVE),
        ("cpu", "determinism_test", False, Profile.NATIVE),
    ]
    assert (len(cells), untested) == (6, ())
    assert {(cell.because_of, cell.distance) for cell in cells} == {(module.ELSEWHERE, None)}


def test_another_image_is_run_and_then_the_baselines_own_from_its_files(
    monkeypatch, run_of, golden, state, site, other
):
    played = Played(run_of(outputs={"predictions": digest("other")}, predictions=(0.1, 0.2, 0.4)), run_of())
    monkeypatch.setattr(module, "run_golden", played)
    after = msgspec.structs.replace(other, name="cpu-prev", profile=Profile.X86_64_V3)
    cells, untested = check_golden([golden()], state(), after, site)
    assert untested == ()
    assert [(asked[0], asked[3]) for asked in played.asked] == [
        ("cpu-prev", Profile.X86_64_V3),
        ("cpu", Profile.NATIVE),
    ]
    assert played.asked[1][4].keys() == {"cpu.yaml", "debian.lock", "python.txt", "image.lock"}
    assert {cell.because_of for cell in cells} == {module.ENVIRONMENT}
    assert all(cell.distance.differing == 1 for cell in cells)
    assert not list(site.store.temporary.iterdir())


def test_the_candidates_root_is_handed_on(monkeypatch, run_of, golden, state, site, tmp_path):
    roots: list[Path | None] = []

    def run(*asked: Any, root: Path | None, profile: Profile) -> LoadedRun:
        roots.append(root)
        return run_of()

    monkeypatch.setattr(module, "run_golden", run)
    check_golden([golden()], state(), state(), site, after_root=tmp_path)
    assert roots == [tmp_path]


@pytest.mark.parametrize(
    "error",
    [OutdatedLockError("variables changed"), PrerequisiteError("torch is gone"), IntegrityError("it was not strict")],
)
def test_an_old_environment_that_cannot_be_run_is_not_tested_and_the_rest_goes_on(
    monkeypatch, run_of, golden, state, site, other, error
):
    monkeypatch.setattr(module, "run_golden", Played(run_of(outputs={"predictions": digest("other")}), error))
    cells, untested = check_golden([golden()], state(), other, site)
    assert {(cell.answer, cell.because_of, cell.distance) for cell in cells} == {(Answer.CHANGED, None, None)}
    assert [error.message in item.reason for item in untested] == [True]
    assert "the baseline's own cpu" in untested[0].what


def test_an_old_environment_whose_files_were_altered_is_not_tested(monkeypatch, run_of, golden, state, site, other):
    broken = msgspec.structs.replace(state().sources, digests={"spec": digest("other")})
    monkeypatch.setattr(module, "run_golden", Played(run_of(), AssertionError("must not be run")))
    cells, untested = check_golden([golden()], state(sources=broken), other, site)
    assert answers(cells) == [Answer.UNCHANGED] * 3
    assert len(untested) == 1


def test_a_candidate_that_cannot_run_here_is_not_tested_for_every_golden(monkeypatch, run_of, golden, state, site):
    monkeypatch.setattr(module, "run_golden", Played(AssertionError("must not be run")))
    after = state(survey=None, unsurveyed="this machine has no GPU")
    cells, untested = check_golden([golden(), golden(quick=False)], state(), after, site)
    assert cells == ()
    assert [item.reason for item in untested] == ["this machine has no GPU"] * 2


@pytest.mark.parametrize("error", [UsageError("no such experiment"), PrerequisiteError("no engine")])
def test_a_candidate_that_fails_to_run_is_not_tested(monkeypatch, golden, state, site, error):
    monkeypatch.setattr(module, "run_golden", Played(error))
    cells, untested = check_golden([golden()], state(), state(), site)
    assert (cells, len(untested), error.message in untested[0].reason) == ((), 1, True)


def test_a_candidate_that_was_not_strict_is_an_integrity_failure(monkeypatch, golden, state, site):
    monkeypatch.setattr(module, "run_golden", Played(IntegrityError("it was not strict")))
    with pytest.raises(IntegrityError):
        check_golden([golden()], state(), state(), site)


def test_without_goldens_nothing_is_run(monkeypatch, state, site, other):
    monkeypatch.setattr(module, "run_golden", Played(AssertionError("must not be run")))
    assert check_golden([], state(), other, site) == ((), ())


def test_environments_are_the_same_by_image_and_the_hosts_by_its_wheels(state, cpu_sources, other):
    def with_digest(name: str) -> Any:
        return msgspec.structs.replace(
            cpu_sources, image=None, digests={**cpu_sources.digests, name: digest("another lock")}
        )

    assert same_environment(state(), state(name="renamed"))
    assert not same_environment(state(), other)
    assert not same_environment(state(), state(profile=Profile.X86_64_V3))
    bare = msgspec.structs.replace(cpu_sources, image=None)
    assert not same_environment(state(sources=bare), state(sources=bare))
    host = state(engine=EngineName.HOST, sources=bare)
    assert same_environment(host, state(engine=EngineName.HOST, sources=with_digest("debian.lock")))
    assert not same_environment(host, state(engine=EngineName.HOST, sources=with_digest("python.txt")))
    assert not same_environment(host, state())
