import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import ExitCode, IntegrityError, UsageError
from harness.record.cells import Cell
from harness.record.hashing import digest_of, digest_of_file, signature
from harness.record.jsonfile import pretty_json
from harness.record.manifest import (
    Manifest,
    check_files,
    make_manifest,
    read_manifest,
    require_intact,
    verify_run,
    write_manifest,
)
from harness.spec.run import Resources, RunSpec

RUN_SPEC = RunSpec(
    run_id="r1",
    image=None,
    argv=("python3",),
    environment={},
    mounts=(),
    output="/o",
    resources=Resources(cpus=(0,), time_limit=60),
)


@pytest.fixture
def run(recorded: Callable[..., Path], scene: Any) -> Path:
    return recorded("a", scene)


def make(folder: Path, cells: list[tuple[str, Cell]]) -> Manifest:
    return make_manifest(folder, cells, run_spec=RUN_SPEC, verdicts=(), exit_code=0)


def altered(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(pretty_json(document))


def test_a_manifest_names_every_file_with_its_digest_and_size(run: Path) -> None:
    manifest = read_manifest(run)
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} - {"manifest.json"}
    assert manifest.files.keys() == files
    assert len(files) == 6
    for name, entry in manifest.files.items():
        assert (entry.digest, entry.size) == (digest_of_file(run / name), (run / name).stat().st_size)


def test_a_manifest_holds_the_run_spec_the_verdicts_and_an_index_of_cells(run: Path) -> None:
    document = json.loads((run / "manifest.json").read_bytes())
    assert document["schema"] == "harness.manifest/1"
    assert document["run_spec"]["argv"] == ["python3", "-m", "harness.training"]
    assert [verdict["verdict"] for verdict in document["verdicts"]] == ["unverified"] * 4
    assert document["exit_code"] == 0
    assert {cell["family"] for cell in document["cells"]} == {"lightgbm", "xgboost"}
    assert document["cells"][0]["metrics"] == {"ic": None, "rmse": 0.1}


def test_a_manifests_digest_is_over_its_content_without_that_field(run: Path) -> None:
    manifest = read_manifest(run)
    document = msgspec.to_builtins(manifest)
    assert document.pop("digest") == signature(document)


def test_a_run_as_it_was_written_has_no_problem(run: Path) -> None:
    assert verify_run(run) == ()
    assert require_intact(run) == read_manifest(run)


@pytest.mark.parametrize("name", ["snapshot.json", "metrics.json", "diff_prev.json"])
def test_a_flipped_bit_is_named(run: Path, name: str) -> None:
    path = sorted(run.rglob(name))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify_run(run) == (f"{path} was altered: its digest is not the recorded one",)
    with pytest.raises(IntegrityError, match=f"{name} was altered") as caught:
        require_intact(run)
    assert caught.value.exit_code == ExitCode.INTEGRITY


def test_a_missing_file_is_named(run: Path) -> None:
    path = sorted(run.rglob("metrics.json"))[0]
    path.unlink()
    assert verify_run(run) == (f"{path} is missing",)


def test_an_additional_file_is_named(run: Path) -> None:
    (run / "targets" / "extra.txt").write_text("x")
    assert verify_run(run) == (f"{run / 'targets' / 'extra.txt'} is additional: the manifest does not name it",)


def test_a_file_replaced_by_a_link_to_the_same_content_is_named(run: Path, tmp_path: Path) -> None:
    path = sorted(run.rglob("metrics.json"))[0]
    copy = tmp_path / "copy"
    path.rename(copy)
    path.symlink_to(copy)
    assert "is not a plain file" in verify_run(run)[0]


def test_a_folder_replaced_by_a_link_is_named(run: Path, tmp_path: Path) -> None:
    (run / "targets").rename(tmp_path / "targets")
    (run / "targets").symlink_to(tmp_path / "targets")
    assert all("is not a plain file" in problem for problem in verify_run(run))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(exit_code=1),
        lambda document: document.update(run_name="b"),
        lambda document: document["cells"].pop(),
        lambda document: document["verdicts"][0].update(verdict="identical"),
        lambda document: document["run_spec"]["environment"].update(OMP_NUM_THREADS="8"),
        lambda document: document["files"].popitem(),
        lambda document: document["cells"][0]["metrics"].update(rmse=0.2),
    ],
)
def test_a_manifest_changed_in_any_field_is_noticed(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    altered(run, change)
    assert verify_run(run) == (f"{run / 'manifest.json'} was altered: its digest is not that of its content",)
    with pytest.raises(IntegrityError, match=r"manifest\.json was altered"):
        require_intact(run)


def test_a_manifest_that_is_no_json_is_damaged(run: Path) -> None:
    (run / "manifest.json").write_bytes(b"{")
    with pytest.raises(IntegrityError, match="damaged"):
        require_intact(run)


def test_a_manifest_of_another_version_is_not_called_damaged(run: Path) -> None:
    altered(run, lambda document: document.update(schema="harness.manifest/2"))
    with pytest.raises(UsageError, match=r"harness\.manifest/2"):
        require_intact(run)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "./a", "a//b", "", "manifest.json"])
def test_a_path_that_leads_out_of_the_run_is_refused_even_under_a_valid_digest(
    run: Path, name: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    manifest = read_manifest(run)
    entry = next(iter(manifest.files.values()))
    forged = msgspec.structs.replace(manifest, files={**manifest.files, name: entry})
    content = {key: value for key, value in msgspec.to_builtins(forged).items() if key != "digest"}
    (run / "manifest.json").write_bytes(pretty_json({**content, "digest": signature(content)}))
    with pytest.raises(IntegrityError, match="no path inside"):
        require_intact(run)
    with pytest.raises(IntegrityError, match="no path inside"):
        check_files(run, {name: digest_of(b"x")})


def test_a_manifest_is_written_once(run: Path) -> None:
    before = (run / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match="never changes"):
        write_manifest(run, read_manifest(run))
    assert (run / "manifest.json").read_bytes() == before


def test_a_folder_without_manifest_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a complete run"):
        verify_run(tmp_path)


def test_an_integral_time_limit_survives_writing_and_reading(tmp_path: Path, scene: Any) -> None:
    manifest = make(tmp_path, [("c", scene.cells()[0])])
    write_manifest(tmp_path, manifest)
    assert require_intact(tmp_path) == manifest


def test_two_cells_of_one_key_are_refused(tmp_path: Path, scene: Any) -> None:
    cell = scene.cells()[0]
    with pytest.raises(IntegrityError, match="twice"):
        make(tmp_path, [("c", cell), ("d", cell)])


def test_two_cohorts_that_share_a_snapshot_are_refused(tmp_path: Path, scene: Any) -> None:
    panel, *_, alone = scene.cells()
    assert panel.cohort_id != alone.cohort_id
    with pytest.raises(IntegrityError, match="overwrite"):
        make(tmp_path, [("c", panel), ("c", alone)])


def test_cells_of_two_runs_and_no_cells_are_refused(tmp_path: Path, scene: Any) -> None:
    with pytest.raises(UsageError, match="not of 2"):
        make(tmp_path, [("c", scene.cells("r1")[0]), ("c", scene.cells("r2")[1])])
    with pytest.raises(UsageError, match="not of 0"):
        make(tmp_path, [])


def test_links_pipes_and_names_that_are_no_text_are_not_recorded(tmp_path: Path, scene: Any) -> None:
    cells = [("c", scene.cells()[0])]
    make(tmp_path, cells)
    for spoil in (
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to("/etc"),
        os.mkfifo,
    ):
        path = tmp_path / "odd"
        spoil(path)
        with pytest.raises(IntegrityError, match="not a plain file"):
            make(tmp_path, cells)
        path.unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"")
    with pytest.raises(IntegrityError, match="UTF-8"):
        make(tmp_path, cells)


class TestCheckFiles:
    def test_files_as_their_writer_said_pass(self, tmp_path: Path) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "a.txt").write_bytes(b"a")
        check_files(tmp_path, {"models/a.txt": digest_of(b"a")})

    def test_a_file_that_differs_or_is_missing_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"b")
        with pytest.raises(IntegrityError, match=r"a\.txt was altered"):
            check_files(tmp_path, {"a.txt": digest_of(b"a")})
        with pytest.raises(IntegrityError, match=r"b\.txt is missing"):
            check_files(tmp_path, {"b.txt": digest_of(b"a")})
        with pytest.raises(IntegrityError, match="not a plain file"):
            check_files(tmp_path.parent, {tmp_path.name: digest_of(b"a")})
