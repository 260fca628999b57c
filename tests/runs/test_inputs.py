from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.runs.inputs import code_mount, folder_mount, panel_mount, task_mount
from harness.spec.experiment import Data, Experiment
from harness.spec.run import Mode, Profile
from harness.spec.task import TrainingTask
from harness.store.progress import SILENT
from harness.store.store import Store

HEAD = "Date,AAA\n2020-01-01,1.0\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "panel.csv").write_text(HEAD)
    return folder


def test_a_panel_is_copied_so_that_a_later_change_does_not_reach_the_run(store: Store, folder: Path) -> None:
    mount, name = panel_mount(store, Data(path=str(folder / "panel.csv")), root=folder, progress=SILENT)
    (folder / "panel.csv").write_text("changed")
    assert (name, (Path(mount.source) / name).read_text()) == ("panel.csv", HEAD)


def test_only_the_panel_itself_is_copied(store: Store, folder: Path) -> None:
    (folder / "secret.txt").write_text("s")
    mount, _ = panel_mount(store, Data(path=str(folder)), root=folder, progress=SILENT)
    assert [path.name for path in Path(mount.source).iterdir()] == ["panel.csv"]


def test_a_mounts_digest_is_its_contents(store: Store, folder: Path) -> None:
    data = Data(path=str(folder / "panel.csv"))
    before, _ = panel_mount(store, data, root=folder, progress=SILENT)
    again, _ = panel_mount(store, data, root=folder, progress=SILENT)
    (folder / "panel.csv").write_text(HEAD.replace("1.0", "1.1"))
    after, _ = panel_mount(store, data, root=folder, progress=SILENT)
    assert before.digest == again.digest != after.digest


def test_a_folder_with_two_panels_or_none_is_refused_and_says_what_it_holds(store: Store, folder: Path) -> None:
    (folder / "other.parquet").write_text("")
    with pytest.raises(UsageError, match=r"holds other\.parquet, panel\.csv"):
        panel_mount(store, Data(path=str(folder)), root=folder, progress=SILENT)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="holds none"):
        panel_mount(store, Data(path=str(folder)), root=folder, progress=SILENT)


def test_data_that_is_not_there_is_named(store: Store, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no data at .*nowhere"):
        panel_mount(store, Data(path=str(folder / "nowhere")), root=folder, progress=SILENT)
    with pytest.raises(UsageError, match="is not a folder") as refused:
        folder_mount(store, folder / "panel.csv", name="plugins")
    assert refused.value.hint == "Give --plugins an existing folder."


def test_the_code_of_a_run_is_what_runs_inside_and_no_more(store: Store) -> None:
    root = Path(code_mount(store).source)
    assert {path.name for path in root.iterdir()} == {"harness"}
    assert {path.name for path in (root / "harness").iterdir()} == {
        "__init__.py", "errors.py", "configs", "record", "spec", "strict", "training"
    }  # fmt: skip
    assert not list(root.rglob("__pycache__"))


def test_a_task_with_another_seed_has_another_digest(store: Store) -> None:
    experiment = Experiment(
        name="e", data=Data(path="p"), features=("ret_1d",), targets=("fwd_ret_5d",), families={"ridge": {}}
    )
    digests = {
        task_mount(
            store,
            TrainingTask(
                run_id="r", experiment=experiment, panel="p", mode=Mode.STRICT, profile=Profile.NATIVE, seed=seed,
                workers=1,
            ),
        ).digest
        for seed in (1, 2, 1)
    }  # fmt: skip
    assert len(digests) == 2
