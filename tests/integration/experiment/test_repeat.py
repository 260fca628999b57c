"""The same experiment again, in one environment: the same bits, whatever else differs."""

import json
import subprocess
from pathlib import Path

import msgspec
import pytest

pytestmark = pytest.mark.docker

CELLS = 2 * 2 * 4  # targets, views, families


def cells(finished) -> list[str]:
    return [line for line in finished.stdout.splitlines() if line.startswith("│")]


def test_the_first_run_is_unverified_and_answers_0(first):
    assert first.code == 0, first.stderr
    assert len(cells(first)) == CELLS
    assert all("unverified (first run of this group)" in line for line in cells(first))
    assert "Run the same command again" in first.stdout


def test_the_second_run_is_identical_in_every_cell_with_another_number_of_workers(first, second):
    assert second.code == 0, second.stderr
    assert len(cells(second)) == CELLS
    assert all("identical" in line and "unverified" not in line for line in cells(second))


def test_the_two_runs_compare_as_identical(shop, second):
    code, compared = shop.compare("first", "second")
    assert code == 0
    assert [cell["verdict"] for cell in compared] == ["identical"] * CELLS
    table = shop.harness("compare", "first", "second")
    assert table.code == 0
    assert table.stdout.count("identical") == CELLS


def test_a_run_compared_with_itself_says_that_this_proves_nothing(shop, first):
    finished = shop.harness("compare", "first", "first")
    assert "the same run" in finished.stdout


def test_the_logs_of_two_runs_have_the_same_fingerprint_lines(first, second):
    assert len(first.fingerprints) == len(set(first.fingerprints)) == CELLS
    assert first.fingerprints == second.fingerprints == sorted(first.fingerprints)
    assert not any("unverified" in line or "\x1b" in line for line in first.fingerprints)


def test_the_seeds_shell_check_works_as_written(shop, first, second):
    for name, finished in (("run1.log", first), ("run2.log", second)):
        (shop.folder / name).write_text(finished.stderr + finished.stdout)
    check = "diff <(grep fingerprint run1.log) <(grep fingerprint run2.log)"
    assert subprocess.run(["bash", "-c", check], cwd=shop.folder, check=True, capture_output=True).stdout == b""
    altered = (shop.folder / "run2.log").read_text().replace(first.fingerprints[3][-8:], "00000000")
    (shop.folder / "run2.log").write_text(altered)
    assert subprocess.run(["bash", "-c", check], cwd=shop.folder, check=False, capture_output=True).returncode == 1


def test_the_comparison_groups_of_two_runs_are_the_same_document(shop, first, second):
    groups = []
    for name in ("first", "second"):
        files = sorted(
            shop.run_folder(name).glob("targets/*/reproducibility/CROSS_SECTIONAL/cohort=cs_*/snapshot.json")
        )
        groups.append([json.loads(file.read_text())["comparison_group"] for file in files])
    assert groups[0] == groups[1]
    assert len(groups[0]) == 2
    assert groups[0][0]["task_signature"] != groups[0][1]["task_signature"]


def test_addresses_host_name_folder_and_output_path_change_no_bit(shop, first, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    finished = shop.harness(
        "run", "--experiment-config", shop.folder / "tiny.yaml", "--data-dir", shop.folder / "panel.csv",
        "--output-dir", tmp_path / "other results", "--no-aslr", "--hostname", "elsewhere", "--run-name", "moved",
        "--json", cwd=tmp_path / "elsewhere",
    )  # fmt: skip
    report = msgspec.json.decode(finished.stdout)
    assert report["fingerprint_lines"] == first.fingerprints
    code, compared = shop.compare(shop.run_folder("first"), tmp_path / "other results/runs/moved")
    assert (code, {cell["verdict"] for cell in compared}) == (0, {"identical"})
    manifest = json.loads((tmp_path / "other results/runs/moved/manifest.json").read_text())
    assert (manifest["run_spec"]["hostname"], manifest["run_spec"]["randomize_addresses"]) == ("elsewhere", False)


def test_what_a_run_inherits_is_overridden_and_said(first, second):
    assert "OMP_NUM_THREADS=8 is not taken over: the run gets OMP_NUM_THREADS=1" in second.stderr
    assert "PYTHONHASHSEED=7 is not taken over: the run gets PYTHONHASHSEED=42" in second.stderr
    assert "not taken over" not in first.stderr


def test_json_is_one_document_and_nothing_else_on_stdout(shop, first):
    finished = shop.run("--quick", "--families", "ridge", "--json")
    assert finished.stdout.count("\n") == 1
    report = msgspec.json.decode(finished.stdout)
    assert (finished.code, report["exit_code"]) == (0, 0)
    assert {cell["family"] for cell in report["cells"]} == {"ridge"}
    assert {cell["verdict"] for cell in report["cells"]} == {"unverified"}
    assert Path(shop.folder, report["folder"], "manifest.json").is_file()
