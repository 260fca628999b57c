"""The matrix's answers, on runs made by hand: the engines are played here."""

import hashlib
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from harness.errors import ExitCode, IntegrityError, PrerequisiteError, ToolError, UsageError
from harness.record.archive import LoadedRun
from harness.record.cells import Cell, RunLabel
from harness.record.environment import Cpu, Library
from harness.record.manifest import CellEntry, Manifest
from harness.record.snapshot import Code, EnvironmentRecord, ImageRecord
from harness.release import fitting
from harness.release import matrix as room
from harness.release.matrix import (
    EnvironmentResult,
    Matrix,
    MatrixRequest,
    PairResult,
    State,
    across,
    exit_code_of,
    inside,
    run_matrix,
    why_skipped,
)
from harness.release.matrixtable import conclusion, environment_rows, markdown, pair_rows
from harness.release.schemas import schemas
from harness.release.site import Site
from harness.runs.opening import EngineName, Environment, environment
from harness.spec.digest import Digest, digest_from_hex
from harness.spec.run import Resources, RunSpec
from harness.store.progress import SILENT
from harness.store.store import Store

FAMILIES = ("lightgbm", "ridge")
PREDICTIONS = "targets/fwd_ret_5d/reproducibility/CROSS_SECTIONAL/cohort=cs_1/predictions"
FITTED = np.linspace(-1.0, 1.0, 50)


def digest(*parts: object) -> Digest:
    return digest_from_hex(hashlib.sha256(repr(parts).encode()).hexdigest())


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., LoadedRun]:
    """`run(name, image, …)`: a run of two cells. `shift` is what ridge's predictions are off."""

    def make(
        name: str, image: str | None = "cpu", *, numpy: str = "2.4.6", shift: float = 0.0, families: Any = FAMILIES
    ) -> LoadedRun:
        label = RunLabel("2026-01-02T03:04:05Z", f"id-{name}", name)
        record = EnvironmentRecord(
            image=ImageRecord(name=image, manifest=digest(image), config=digest(image, 1), locks={}) if image else None,
            python={"version": "3.11.2"},
            libraries={"numpy": Library(numpy, digest("numpy", numpy)), "jinja2": Library("3.1.6", digest(image))},
            native={},
            cpu=Cpu("x86_64", "AuthenticAMD", "25", "17", "AMD EPYC", {}),
            gpu=None,
            settings={},
            probe={"numpy": {kernel: digest(kernel, numpy) for kernel in ("exp64", "log64")}},
        )
        cells = []
        for family in families:
            values = FITTED + (shift if family == "ridge" else 0.0)
            path = tmp_path / name / PREDICTIONS / f"{family}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)
            predictions = digest(values.tolist())
            cells.append(
                Cell(
                    run=label,
                    experiment="tiny",
                    cohort_id="cs_1",
                    target="fwd_ret_5d",
                    view="CROSS_SECTIONAL",
                    symbol=None,
                    family=family,
                    group={
                        "environment_signature": digest(image, numpy),
                        "probe_signature": digest(numpy),
                        "train_seed": 42,
                        "profile": "native",
                    },
                    environment=record,
                    code=Code(None, None, digest("code")),
                    outputs={"predictions": predictions, "model": digest(shift if family == "ridge" else 0)},
                    fingerprint=digest(predictions),
                    metrics={"rmse": 0.5 + (shift if family == "ridge" else 0.0), "ic": None},
                )
            )
        return LoadedRun(tmp_path / name, manifest(label, cells), tuple(cells))

    return make


def manifest(label: RunLabel, cells: list[Cell]) -> Manifest:
    entries = [
        CellEntry(
            experiment=cell.experiment,
            cohort_id=cell.cohort_id,
            target=cell.target,
            view=cell.view,
            symbol=cell.symbol,
            family=cell.family,
            group=cell.group_digest,
            fingerprint=cell.fingerprint,
            metrics=cell.metrics,
            snapshot="cohort/snapshot.json",
        )
        for cell in cells
    ]
    resources = Resources(cpus=(0,), time_limit=1)
    return Manifest(
        run_name=label.run_name,
        run_id=label.run_id,
        created_at=label.created_at,
        experiment="tiny",
        exit_code=0,
        run_spec=RunSpec(
            run_id=label.run_id, image=None, argv=(), environment={}, mounts=(), output="", resources=resources
        ),
        cells=tuple(entries),
        verdicts=(),
        files={},
        digest=digest(label),
    )


Run = Callable[..., LoadedRun]


def test_an_environment_that_repeats_itself_is_identical(run: Run) -> None:
    result = inside("cpu", [run("a"), run("b"), run("c")])
    assert (result.state, result.exit_code) == (State.IDENTICAL, ExitCode.OK)
    assert result.verdicts == {"identical": 4}
    assert result.runs == ("a", "b", "c")


def test_one_cell_with_other_bits_makes_an_environment_divergent(run: Run) -> None:
    result = inside("cpu", [run("a"), run("b"), run("c", shift=1e-9)])
    assert (result.state, result.exit_code) == (State.DIVERGENT, ExitCode.DIVERGENT)
    assert result.verdicts == {"identical": 3, "divergent": 1}
    assert [reason.partition(": ")[0] for reason in result.reasons] == ["fwd_ret_5d CROSS_SECTIONAL all ridge"]


def test_an_environment_that_changes_between_its_runs_is_not_said_to_repeat(run: Run) -> None:
    result = inside("cpu", [run("a"), run("b", numpy="1.26.4")])
    assert (result.state, result.exit_code) == (State.INCOMPARABLE, ExitCode.INCOMPARABLE)


def test_two_environments_are_incomparable_for_reasons_that_are_named_once(run: Run) -> None:
    pair = across("cpu", run("a"), "cpu-prev", run("b", "cpu-prev", numpy="1.26.4", shift=0.1))
    assert pair.verdicts == {"incomparable": 2}
    reasons = {reason.field: reason for reason in pair.reasons}
    assert reasons.keys() == {"environment_signature", "probe_signature"}
    assert reasons["environment_signature"].cells == 2
    assert "library numpy 2.4.6 → 1.26.4" in reasons["environment_signature"].changes
    assert reasons["environment_signature"].changes[0].startswith("image manifest ")
    assert reasons["probe_signature"].changes == ("probe numpy/exp64", "probe numpy/log64")


def test_the_distance_is_said_by_family(run: Run) -> None:
    pair = across("cpu", run("a"), "cpu-prev", run("b", "cpu-prev", shift=0.25))
    lightgbm, ridge = pair.families
    assert (lightgbm.family, lightgbm.identical, lightgbm.cells, lightgbm.relative) == ("lightgbm", 1, 1, 0.0)
    assert lightgbm.metric is None
    assert (ridge.family, ridge.identical, ridge.same_predictions) == ("ridge", 0, 0)
    assert ridge.relative == pytest.approx(0.25 / np.std(FITTED))
    assert ridge.correlation == pytest.approx(1.0)
    assert (ridge.metric, ridge.delta) == ("rmse", pytest.approx(0.25))


def test_predictions_whose_rows_do_not_pair_up_have_no_distance(run: Run) -> None:
    before, after = run("a"), run("b", "cpu-prev")
    np.save(after.folder / PREDICTIONS / "ridge.npy", FITTED[:-1])
    ridge = across("cpu", before, "cpu-prev", after).families[1]
    assert (ridge.unpaired, ridge.relative) == (1, None)


def test_predictions_that_are_none_are_refused(run: Run) -> None:
    before, after = run("a"), run("b", "cpu-prev")
    (after.folder / PREDICTIONS / "ridge.npy").write_bytes(b"?")
    with pytest.raises(IntegrityError, match=r"ridge\.npy"):
        across("cpu", before, "cpu-prev", after)


def result(state: State, code: int = 0, name: str = "cpu") -> EnvironmentResult:
    return EnvironmentResult(name=name, state=state, exit_code=code)


def pair(**verdicts: int) -> PairResult:
    return PairResult(before="host", after="cpu", verdicts=verdicts, reasons=(), families=())


@pytest.mark.parametrize(
    ("results", "pairs", "asked", "code"),
    [
        ([result(State.IDENTICAL)], [], False, 0),
        ([result(State.IDENTICAL), result(State.SKIPPED)], [], False, 0),
        ([result(State.IDENTICAL), result(State.SKIPPED)], [], True, 3),
        ([result(State.SKIPPED)], [], False, 2),
        ([result(State.DIVERGENT, 1), result(State.IDENTICAL)], [], False, 1),
        ([result(State.INCOMPARABLE, 3), result(State.IDENTICAL)], [], False, 3),
        ([result(State.FAILED, 2), result(State.DIVERGENT, 1)], [], False, 2),
        ([result(State.FAILED, 4), result(State.FAILED, 2)], [], False, 4),
        ([result(State.IDENTICAL)] * 2, [pair(incomparable=24)], False, 0),
        ([result(State.IDENTICAL)] * 2, [pair(identical=24)], False, 0),
        ([result(State.IDENTICAL)] * 2, [pair(incomparable=23, divergent=1)], False, 1),
        ([result(State.IDENTICAL)] * 2, [pair(incomparable=23, unverified=1)], False, 3),
    ],
)
def test_the_exit_code_is_of_the_worst_answer(
    results: list[EnvironmentResult], pairs: list[PairResult], asked: bool, code: int
) -> None:
    assert exit_code_of(results, pairs, asked=asked) == code


def spec(root: Path, name: str, variant: str = "cpu", *, locked: bool = True) -> Environment:
    (root / "docker").mkdir(exist_ok=True)
    text = (Path(__file__).parents[2] / "docker/cpu.yaml").read_text()
    text = text.replace("name: cpu\n", f"name: {name}\n").replace("variant: cpu\n", f"variant: {variant}\n")
    (root / f"docker/{name}.yaml").write_text(text)
    if locked:
        (root / "lockfiles" / name).mkdir(parents=True)
        (root / "lockfiles" / name / "image.lock").touch()
    return environment(name, root)


def test_an_image_without_a_lock_is_skipped_with_the_command_that_makes_it(tmp_path: Path) -> None:
    reason = why_skipped(spec(tmp_path, "new", locked=False), tmp_path)
    assert reason == "there is no lockfiles/new/image.lock: harness build new --update"
    assert why_skipped(spec(tmp_path, "old"), tmp_path) is None


def test_an_image_for_another_machine_is_skipped(tmp_path: Path) -> None:
    foreign = "amd64" if platform.machine() == "aarch64" else "arm64"
    one = spec(tmp_path, "foreign")
    path = tmp_path / "docker" / "foreign.yaml"
    text = path.read_text().replace("architecture: amd64", f"architecture: {foreign}")
    path.write_text(text.replace("x86_64-manylinux", "aarch64-manylinux") if foreign == "arm64" else text)
    assert why_skipped(one, tmp_path) == f"it is for {foreign}, and this machine is {platform.machine()}"


def test_an_image_without_a_familys_library_is_skipped(tmp_path: Path) -> None:
    one = spec(tmp_path, "old")
    shutil.copy(Path(__file__).parents[2] / "lockfiles" / "trixie" / "python.txt", tmp_path / "lockfiles" / "old")
    reason = why_skipped(one, tmp_path, ["determinism_test"])
    assert reason == "it has no torch, which the family torch_mlp of determinism_test needs"
    shutil.copy(Path(__file__).parents[2] / "lockfiles" / "cpu" / "python.txt", tmp_path / "lockfiles" / "old")
    assert why_skipped(one, tmp_path, ["determinism_test"]) is None


def test_a_gpu_image_is_skipped_where_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = spec(tmp_path, "cuda", "cuda")
    monkeypatch.setattr(fitting, "gpu_driver", lambda: None)
    assert why_skipped(cuda, tmp_path) == "it needs an NVIDIA GPU with its driver, and this machine has none"
    monkeypatch.setattr(fitting, "gpu_driver", lambda: "NVIDIA H100, 580.95.05")
    assert why_skipped(cuda, tmp_path) is None


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Callable[..., Matrix]:
    """Run the matrix with engines that are played: `stage(host=…, cpu=…)` gives each environment's runs or an error."""
    spec(tmp_path, "cpu")

    def play(names: tuple[str, ...] | None = None, **played: Any) -> Matrix:
        turns = {name: iter(list(what)) for name, what in played.items() if isinstance(what, list)}

        def open_engine(name: EngineName, *rest: object) -> SimpleNamespace:
            if isinstance(what := played["host" if name is EngineName.HOST else "cpu"], PrerequisiteError):
                raise what
            return SimpleNamespace(name=name)

        def train(request: Any, *, engine: Any, **rest: object) -> SimpleNamespace:
            turn = next(turns["host" if engine.name is EngineName.HOST else request.image])
            if isinstance(turn, Exception):
                raise turn
            loaded[str(turn.folder)] = turn
            return SimpleNamespace(folder=str(turn.folder))

        loaded: dict[str, LoadedRun] = {}
        monkeypatch.setattr(room, "open_engine", open_engine)
        monkeypatch.setattr(room, "train", train)
        monkeypatch.setattr(room, "load_run", lambda folder: loaded[str(folder)])
        site = Site(root=tmp_path, store=Store(tmp_path / "store"), progress=SILENT)
        return run_matrix(MatrixRequest(experiment="tiny", environments=names), site)

    return play


def test_every_environment_is_run_twice_and_each_pair_compared(stage: Callable[..., Matrix], run: Run) -> None:
    matrix = stage(host=[run("h1", None), run("h2", None)], cpu=[run("c1"), run("c2")])
    assert [(one.name, one.state) for one in matrix.environments] == [("host", "identical"), ("cpu", "identical")]
    assert [(one.before, one.after, one.verdicts) for one in matrix.pairs] == [("host", "cpu", {"incomparable": 2})]
    assert matrix.exit_code == 0


def test_what_has_no_engine_here_is_skipped_and_never_passed(stage: Callable[..., Matrix], run: Run) -> None:
    matrix = stage(host=[run("h1", None), run("h2", None)], cpu=PrerequisiteError("No Docker daemon answers"))
    skipped = matrix.environments[1]
    assert (skipped.state, skipped.reasons, skipped.runs) == (State.SKIPPED, ("No Docker daemon answers",), ())
    assert (matrix.pairs, matrix.exit_code) == ((), 0)
    assert conclusion(matrix).startswith("1 of 1 environments")
    assert "1 skipped, of which nothing is known" in conclusion(matrix)


def test_where_nothing_can_run_it_is_trouble(stage: Callable[..., Matrix]) -> None:
    trouble = PrerequisiteError("No Docker daemon answers")
    assert stage(("cpu",), cpu=trouble).exit_code == 2


def test_an_environment_that_fails_does_not_keep_the_others_from_being_tried(
    stage: Callable[..., Matrix], run: Run
) -> None:
    matrix = stage(host=[run("h1", None), ToolError("The run needed more memory")], cpu=[run("c1"), run("c2")])
    assert [one.state for one in matrix.environments] == [State.FAILED, State.IDENTICAL]
    assert matrix.environments[0].runs == ("h1",)
    assert matrix.exit_code == 2


def test_an_experiment_that_makes_no_sense_is_one_error(stage: Callable[..., Matrix]) -> None:
    with pytest.raises(UsageError, match="no experiment"):
        stage(host=[UsageError("There is no experiment tiny")], cpu=[])


def test_an_unknown_environment_is_refused_before_anything_runs(stage: Callable[..., Matrix]) -> None:
    with pytest.raises(UsageError, match=r"docker/nowhere\.yaml"):
        stage(("host", "nowhere"), host=[])


def test_the_table_says_what_keeps_environments_apart_in_few_words(stage: Callable[..., Matrix], run: Run) -> None:
    matrix = stage(host=[run("h1", None, shift=0.25), run("h2", None, shift=0.25)], cpu=[run("c1"), run("c2")])
    assert environment_rows(matrix)[0] == ("host", "identical", "2 identical", "h1\nh2", "-")
    before, after, verdict, because, distance = pair_rows(matrix)[0]
    assert (before, after, verdict) == ("host", "cpu", "2 incomparable")
    assert because.startswith("environment_signature (image manifest none → ")
    assert because.endswith("; the same version with other files: jinja2)")
    assert distance.splitlines()[0] == "lightgbm: 1 of 1 cell bit-equal"
    assert distance.splitlines()[1].startswith("ridge: 0 of 1 cell bit-equal, predictions apart by up to 0.42 of")


def test_many_changed_kernels_are_counted(run: Run) -> None:
    change = across("cpu", run("a"), "cpu-prev", run("b", numpy="1.26.4"))
    matrix = Matrix(experiment="tiny", quick=True, profile="native", environments=(), pairs=(change,), exit_code=0)
    assert "probe_signature (probe of numpy: 2 kernels)" in pair_rows(matrix)[0][3]


def test_markdown_keeps_its_tables_whole_whatever_is_said_in_them() -> None:
    strange = EnvironmentResult(name="cpu", state=State.FAILED, reasons=("a | b", "<c>"), exit_code=2)
    matrix = Matrix(experiment="x", quick=False, profile="native", environments=(strange,), pairs=(), exit_code=2)
    row = markdown(matrix).splitlines()[-1]
    assert row == "| cpu | failed | - | - | a \\| b<br>&lt;c> |"


def test_the_document_is_as_its_schema_says_and_can_be_read_back(stage: Callable[..., Matrix], run: Run) -> None:
    matrix = stage(host=[run("h1", None), run("h2", None)], cpu=[run("c1"), run("c2")])
    assert msgspec.json.decode(msgspec.json.encode(matrix), type=Matrix) == matrix
    validator = Draft202012Validator(msgspec.json.decode(schemas()["matrix.json"]))
    document = msgspec.json.decode(msgspec.json.encode(matrix))
    validator.validate(document)
    for damage in ({"exit_code": "0"}, {"schema": "harness.matrix/2"}, {"pairs": [{}]}, {"more": 1}):
        assert not validator.is_valid(document | damage)
