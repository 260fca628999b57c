"""Which runs may go from a results folder, and which never do."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import UsageError
from harness.locking.python import LockedWheel, PythonLock, encode_python_lock
from harness.record.archive import find_runs
from harness.record.hashing import digest_of, digest_of_file
from harness.record.manifest import verify_run
from harness.runs import keeping
from harness.runs.retention import Plan, Rule, plan, prune
from harness.store.store import Store

_CONFTEST = Path(__file__).parents[1] / "record" / "conftest.py"
_spec: Any = importlib.util.spec_from_file_location("made_up_runs", _CONFTEST)
made_up = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = made_up
_spec.loader.exec_module(made_up)
Scene, record, START = made_up.Scene, made_up.record, made_up.START
NOW = START + timedelta(days=100)
SMALL = Scene(families=("lightgbm",), alone=())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "RESULTS"


@pytest.fixture
def recorded(results: Path) -> Callable[..., Path]:
    """`recorded(name, days, scene)`: a run so many days after the first."""

    def call(name: str, days: int, scene: Any = None, **options: Any) -> Path:
        return record(results, name, scene or SMALL, number=days * 24 * 60, **options)

    return call


@pytest.fixture
def ten(recorded: Callable[..., Path]) -> None:
    """Ten runs of one comparison group, one a day."""
    for day in range(10):
        recorded(f"r{day}", day)


@pytest.fixture
def decide(results: Path, store: Store, tmp_path: Path) -> Callable[..., Plan]:
    def call(**rule: Any) -> Plan:
        return plan(results, Rule(**rule), root=tmp_path, store=store, now=NOW)

    return call


def going(planned: Plan) -> list[str]:
    return [fate.run.label.run_name for fate in planned.fates if fate.reason is None]


def staying(planned: Plan) -> dict[str, str]:
    return {fate.run.label.run_name: fate.reason for fate in planned.fates if fate.reason is not None}


def there(results: Path) -> list[str]:
    return [run.label.run_name for run in find_runs(results)]


DAY = 86400.0


def test_runs_go_by_age(ten: None, decide: Callable[..., Plan]) -> None:
    assert going(decide(older_than=97.5 * DAY)) == ["r0", "r1", "r2"]
    assert going(decide(older_than=200 * DAY)) == []


def test_runs_go_by_number(ten: None, decide: Callable[..., Plan]) -> None:
    assert going(decide(keep_last=8)) == ["r0", "r1"]
    assert going(decide(keep_last=10)) == []


def test_by_both_a_run_must_be_old_and_beyond_the_number(ten: None, decide: Callable[..., Plan]) -> None:
    assert going(decide(keep_last=8, older_than=95.5 * DAY)) == ["r0", "r1"]
    assert going(decide(keep_last=2, older_than=98.5 * DAY)) == ["r0", "r1"]


def test_each_experiment_is_counted_by_itself(ten: None, recorded: Any, decide: Callable[..., Plan]) -> None:
    recorded("other", 0, SMALL.but(experiment="another"))
    assert going(decide(keep_last=9)) == ["r0"]


def test_the_latest_run_of_a_comparison_group_stays(ten: None, recorded: Any, decide: Callable[..., Plan]) -> None:
    recorded("alone", 0, SMALL.but(data="another panel"))
    planned = decide(keep_last=0, older_than=0)
    assert staying(planned) == {
        "alone": "it is the latest run of a comparison group",
        "r9": "it is the latest run of a comparison group",
    }
    assert len(going(planned)) == 9


def test_a_run_that_was_not_strict_does_not_stand_for_its_group(
    ten: None, recorded: Any, decide: Callable[..., Plan]
) -> None:
    recorded("broken", 20, exit_code=4)
    assert list(staying(decide(keep_last=0))) == ["r9"]


def test_a_kept_run_stays_whole_and_goes_once_it_is_released(
    ten: None, decide: Callable[..., Plan], results: Path, store: Store, tmp_path: Path
) -> None:
    keeping.keep("r3", root=tmp_path, results=results, store=store, note="audit, until 2033")
    planned = decide(keep_last=0)
    assert staying(planned)["r3"] == "it is kept: audit, until 2033"
    prune(results, planned, store=store)
    assert there(results) == ["r3", "r9"]
    assert verify_run(results / "runs" / "r3") == ()
    assert keeping.let_go("r3", results=results, store=store) == ("run r3",)
    assert going(decide(keep_last=0)) == ["r3"]
    assert not list((results / "kept").iterdir())


def test_a_kept_run_stays_for_people_with_another_store(ten: None, results: Path, store: Store, tmp_path: Path) -> None:
    keeping.keep("r3", root=tmp_path, results=results, store=store)
    other = Store(tmp_path / "other")
    assert "r3" in staying(plan(results, Rule(keep_last=0), root=tmp_path, store=other, now=NOW))
    shutil.rmtree(results / "kept")
    assert "r3" not in staying(plan(results, Rule(keep_last=0), root=tmp_path, store=other, now=NOW))
    assert "r3" in staying(plan(results, Rule(keep_last=0), root=tmp_path, store=store, now=NOW))


@pytest.mark.parametrize(
    "document",
    ["RESULTS/releases/v1/sign-off.json", "RESULTS/ensembles/e/ensemble.json", "lockfiles/baselines/v1.json",
     "docs/releases/v1/sign-off.json"],
)  # fmt: skip
@pytest.mark.parametrize("text", ['{{"path": "RESULTS/runs/{run}/manifest.json"}}', '["{run}"]', '["See {run}."]'])
def test_what_a_document_names_stays(
    ten: None, decide: Callable[..., Plan], tmp_path: Path, document: str, text: str
) -> None:
    path = tmp_path / document
    path.parent.mkdir(parents=True)
    path.write_text(text.format(run="r4"))
    assert staying(decide(keep_last=0)) == {
        "r4": f"{document} names it", "r9": "it is the latest run of a comparison group",
    }  # fmt: skip
    path.write_text(text.format(run="r44"))  # another run's name that begins alike
    assert list(staying(decide(keep_last=0))) == ["r9"]


def test_the_latest_run_with_the_bits_of_a_baseline_stays(
    recorded: Any, decide: Callable[..., Plan], tmp_path: Path
) -> None:
    for day in range(3):
        recorded(f"golden{day}", day)
    recorded("moved", 5, SMALL.but(noise={"predictions": "other bits"}))
    fingerprint = find_runs(tmp_path / "RESULTS")[0].cells[0].fingerprint
    baseline = tmp_path / "lockfiles" / "baselines" / "v1.json"
    baseline.parent.mkdir(parents=True)
    baseline.write_text(json.dumps({"golden": [{"fingerprint": fingerprint}]}))
    assert staying(decide(keep_last=0)) == {
        "golden2": "lockfiles/baselines/v1.json holds its bits",
        "moved": "it is the latest run of a comparison group",
    }


def test_looking_removes_nothing(ten: None, decide: Callable[..., Plan], results: Path) -> None:
    before = sorted(results.rglob("*"))
    decide(keep_last=0)
    assert sorted(results.rglob("*")) == before


def test_a_run_that_is_kept_after_it_was_planned_to_go_stays(
    ten: None, decide: Callable[..., Plan], results: Path, store: Store, tmp_path: Path
) -> None:
    planned = decide(keep_last=0)
    keeping.keep("r5", root=tmp_path, results=results, store=store)
    removed = prune(results, planned, store=store)
    assert "r5" not in [fate.run.label.run_name for fate in removed]
    assert there(results) == ["r5", "r9"]


def test_what_is_no_run_that_can_be_read_stays(
    ten: None, decide: Callable[..., Plan], results: Path, store: Store
) -> None:
    (results / "runs" / "r2" / "manifest.json").write_text("{")
    (results / "runs" / "mine").mkdir()
    (results / "runs" / ".r.partial-123").mkdir()
    planned = decide(keep_last=0)
    assert [note.partition(":")[0] for note in planned.notes] == ["Skipped r2"]
    prune(results, planned, store=store)
    assert sorted(path.name for path in (results / "runs").iterdir()) == [".r.partial-123", "mine", "r2", "r9"]


def test_ctrl_c_leaves_whole_runs_and_the_next_time_ends_it(
    ten: None, decide: Callable[..., Plan], results: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = decide(keep_last=0)

    def interrupted(path: Path, **_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("harness.runs.retention.shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prune(results, planned, store=store)
    assert there(results) == [f"r{day}" for day in range(1, 10)]
    assert all(verify_run(results / "runs" / name) == () for name in there(results))
    prune(results, decide(keep_last=8), store=store)
    assert sorted(path.name for path in (results / "runs").iterdir()) == [f"r{day}" for day in range(2, 10)]


def test_two_at_once_remove_each_run_once(ten: None, decide: Callable[..., Plan], results: Path, store: Store) -> None:
    first, second = decide(keep_last=0), decide(keep_last=0)
    assert len(prune(results, first, store=store)) == 9
    assert prune(results, second, store=store) == ()


def test_a_link_in_the_place_of_a_run_is_not_followed(
    ten: None, decide: Callable[..., Plan], results: Path, store: Store, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (results / "runs" / "r0").rename(elsewhere)
    (results / "runs" / "r0").symlink_to(elsewhere)
    planned = decide(keep_last=0)
    assert staying(planned)["r0"] == "it is a link"
    prune(results, planned, store=store)
    assert (elsewhere / "manifest.json").is_file()


def test_keeping_a_run_keeps_its_inputs(ten: None, results: Path, store: Store, tmp_path: Path) -> None:
    kept = keeping.keep(str(results / "runs" / "r1"), root=tmp_path, results=Path("RESULTS"), store=store)
    assert (kept.pin.what, kept.pin.name, kept.pin.run_id) == ("run", "r1", "id-r1")
    assert kept.pin.image == f"cpu@{made_up.IMAGE.manifest}"
    assert {made_up.IMAGE.manifest, made_up.IMAGE.config} <= set(kept.pin.digests)
    assert kept.problem is not None  # no checkout here has a lock of that made-up image
    again = keeping.keep("r1", root=tmp_path, results=results, store=store, note="again")
    assert [pin.note for pin in keeping.pins(store)] == [again.pin.note] == ["again"]


@pytest.fixture
def host_run(recorded: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of the host engine, with numpy 2.4.6 and lightgbm 4.7.0."""
    with monkeypatch.context() as patch:
        patch.setattr(made_up, "RUN_SPEC", msgspec.structs.replace(made_up.RUN_SPEC, image=None))
        return recorded("plain", 0, SMALL.but(image=None))


def write_host_lock(root: Path, store: Store, numpy: str) -> tuple[Path, set[str]]:
    path = root / "lockfiles" / "cpu" / "python.txt"
    path.parent.mkdir(parents=True)
    wheels = [("lightgbm", "4.7.0"), ("numpy", numpy)]
    digests = {name: store.put_bytes(name.encode()) for name, _ in wheels}
    locked = tuple(
        LockedWheel(name, version, f"{name}-{version}-py3-none-any.whl", digests[name]) for name, version in wheels
    )
    path.write_bytes(
        encode_python_lock(
            PythonLock(inputs=digest_of(b"spec"), version="3.11", platform="x86_64-manylinux_2_28", wheels=locked)
        )
    )
    return path, set(digests.values())


def test_keeping_a_run_of_the_host_engine_keeps_its_wheels_and_environment(
    host_run: Path, results: Path, store: Store, tmp_path: Path
) -> None:
    path, wheels = write_host_lock(tmp_path, store, numpy="2.4.6")
    kept = keeping.keep("plain", root=tmp_path, results=results, store=store)
    assert (kept.missing, kept.problem, kept.pin.image) == ((), None, None)
    assert set(kept.pin.digests) == {*wheels, digest_of_file(path)}
    lost = sorted(wheels)[0]
    store.path(lost).unlink()
    assert keeping.keep("plain", root=tmp_path, results=results, store=store).missing == (lost,)


@pytest.mark.parametrize("locked", [True, False])
def test_keeping_a_run_of_the_host_engine_says_that_no_lock_has_its_libraries(
    host_run: Path, results: Path, store: Store, tmp_path: Path, locked: bool
) -> None:
    if locked:
        write_host_lock(tmp_path, store, numpy="2.4.7")
    kept = keeping.keep("plain", root=tmp_path, results=results, store=store)
    assert kept.problem is not None
    assert "the wheels of its host environment are not kept" in kept.problem
    assert kept.pin.digests == ()


@pytest.mark.parametrize("name", ["nothing", "../r1", "/", ""])
def test_what_is_neither_a_run_nor_an_image_is_not_kept(
    ten: None, results: Path, store: Store, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError):
        keeping.keep(name, root=tmp_path, results=results, store=store)
    assert keeping.pins(store) == ()


def test_a_name_of_both_is_asked_about(ten: None, results: Path, store: Store, tmp_path: Path) -> None:
    lock = tmp_path / "lockfiles" / "r1" / "image.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("{}")
    with pytest.raises(UsageError, match=r"r1 is a run and an image\n.*docker/r1\.yaml"):
        keeping.keep("r1", root=tmp_path, results=results, store=store)


def test_what_is_not_kept_cannot_be_let_go(ten: None, results: Path, store: Store) -> None:
    with pytest.raises(UsageError, match=r"Nothing called 'r1' is kept"):
        keeping.let_go("r1", results=results, store=store)
