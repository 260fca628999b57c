import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import IntegrityError
from harness.record.archive import Archive, find_runs, load_run
from harness.record.hashing import signature
from harness.record.jsonfile import pretty_json


def names(results: Path) -> list[str]:
    return [run.label.run_name for run in find_runs(results)]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def reseal(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Forge a manifest that is in itself sound."""
    document = json.loads((run / "manifest.json").read_bytes())
    change(document)
    del document["digest"]
    (run / "manifest.json").write_bytes(pretty_json({**document, "digest": signature(document)}))


def test_no_results_are_no_runs(tmp_path: Path) -> None:
    assert find_runs(tmp_path / "nowhere") == ()


def test_runs_come_in_the_order_in_which_they_were_made_not_of_their_names(
    recorded: Callable[..., Path], results: Path, scene: Any
) -> None:
    for name in ("zebra", "ant", "moth"):
        recorded(name, scene)
    assert names(results) == ["zebra", "ant", "moth"]


def test_partial_and_foreign_folders_are_no_runs(recorded: Callable[..., Path], results: Path, scene: Any) -> None:
    run = recorded("a", scene)
    shutil.copytree(run, run.with_name(".b.partial-0123456789ab"))
    (results / "runs" / "foreign").mkdir()
    (results / "runs" / "notes.txt").write_text("mine")
    archive = Archive(results)
    assert [found.folder for found in archive.runs] == [run]
    assert archive.notes == []


def test_a_damaged_manifest_is_skipped_with_a_note(recorded: Callable[..., Path], results: Path, scene: Any) -> None:
    recorded("a", scene)
    (recorded("b", scene) / "manifest.json").write_bytes(b"\x00{")
    archive = Archive(results)
    assert [run.label.run_name for run in archive.runs] == ["a"]
    assert archive.notes[0].startswith("Skipped b: ")


def test_the_latest_of_a_cell_is_comparable_or_not_that_of_a_group_always_is(
    recorded: Callable[..., Path], results: Path, scene: Any
) -> None:
    recorded("a", scene)
    recorded("b", scene.but(seed=7))
    cell = scene.cells("id-new")[0]
    archive = Archive(results)
    assert archive.latest_of_cell(cell).cell.run.run_name == "b"
    assert archive.latest_of_group(cell).cell.run.run_name == "a"
    assert archive.latest_of_group(scene.but(seed=8).cells("id-new")[0]) is None


def test_another_experiment_is_another_cell(recorded: Callable[..., Path], results: Path, scene: Any) -> None:
    recorded("a", scene.but(experiment="other"))
    assert Archive(results).latest_of_cell(scene.cells("id-new")[0]) is None


def test_a_family_finds_its_own_last_run(recorded: Callable[..., Path], results: Path, scene: Any) -> None:
    recorded("a", scene)
    recorded("b", scene.but(families=("xgboost",)))
    archive = Archive(results)
    found = {cell.family: archive.latest_of_cell(cell).cell.run.run_name for cell in scene.cells("id-new")}
    assert found == {"lightgbm": "a", "xgboost": "b"}


def test_a_run_is_never_compared_with_itself(recorded: Callable[..., Path], results: Path, scene: Any) -> None:
    recorded("a", scene)
    assert Archive(results).latest_of_group(scene.cells("id-a")[0]) is None


def test_a_run_that_ended_in_an_integrity_failure_is_never_compared_with(
    recorded: Callable[..., Path], results: Path, scene: Any
) -> None:
    recorded("a", scene)
    recorded("b", scene, exit_code=4)
    archive = Archive(results)
    assert len(archive.runs) == 2
    assert archive.latest_of_group(scene.cells("id-new")[0]).cell.run.run_name == "a"


@pytest.mark.parametrize("name", ["snapshot.json", "manifest.json"])
def test_a_run_that_proves_damaged_is_passed_over_with_one_note(
    recorded: Callable[..., Path], results: Path, scene: Any, name: str
) -> None:
    recorded("a", scene)
    damaged = recorded("b", scene)
    if name == "manifest.json":
        text = (damaged / name).read_text()
        (damaged / name).write_text(text.replace('"rmse": 0.1', '"rmse": 0.2', 1))
    else:
        for path in damaged.rglob(name):
            flip(path)
    archive = Archive(results)
    for cell in scene.cells("id-new"):
        assert archive.latest_of_group(cell).cell.run.run_name == "a"
        assert archive.latest_of_cell(cell).cell.run.run_name == "a"
    assert len(archive.notes) == 1
    assert archive.notes[0].startswith("Skipped b: ")
    assert name in archive.notes[0]


def test_an_index_that_contradicts_its_snapshot_is_not_believed(
    recorded: Callable[..., Path], results: Path, scene: Any
) -> None:
    run = recorded("a", scene)
    fingerprint = scene.but(noise={"model": "x"}).cells()[0].fingerprint
    reseal(run, lambda document: document["cells"][0].update(fingerprint=fingerprint))
    archive = Archive(results)
    assert archive.latest_of_group(scene.cells("id-new")[0]) is None
    assert "does not hold the cell" in archive.notes[0]
    with pytest.raises(IntegrityError, match="does not hold the cell"):
        load_run(run)


def test_an_index_that_hides_a_cell_is_not_believed(recorded: Callable[..., Path], scene: Any) -> None:
    run = recorded("a", scene)
    reseal(run, lambda document: document["cells"].pop())
    with pytest.raises(IntegrityError, match="different families"):
        load_run(run)


def test_a_snapshot_of_another_run_is_not_believed(recorded: Callable[..., Path], scene: Any) -> None:
    run = recorded("a", scene)
    reseal(run, lambda document: document.update(run_id="id-b"))
    with pytest.raises(IntegrityError, match="another run"):
        load_run(run)


def test_a_loaded_run_holds_the_cells_it_was_made_of(recorded: Callable[..., Path], scene: Any) -> None:
    found = load_run(recorded("a", scene))
    wanted = {cell.key: (cell.group, cell.fingerprint, cell.outputs, cell.metrics) for cell in scene.cells()}
    assert {c.key: (c.group, c.fingerprint, c.outputs, c.metrics) for c in found.cells} == wanted
    assert found.label.run_name == "a"


def test_a_thousand_runs_are_searched_in_seconds(recorded: Callable[..., Path], results: Path, scene: Any) -> None:
    run = recorded("a", scene.but(targets=("fwd_ret_10d", "fwd_up_10d"), alone=("AAPL", "MSFT", "IBM")))
    data = (run / "manifest.json").read_bytes()
    assert data.count(b'"family"') == 2 * 16
    for number in range(1000):
        folder = results / "runs" / f"copy{number:04}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(data)
    started = time.process_time()
    archive = Archive(results)
    assert archive.latest_of_group(scene.but(seed=3).cells("id-new")[0]) is None
    assert len(archive.runs) == 1001
    assert time.process_time() - started < 5
