"""What two runs left behind: every file in its place, with what it is there to say."""

import json
import re

import pytest

from harness.record.hashing import digest_of

pytestmark = pytest.mark.docker

FAMILIES = ("lightgbm", "ridge", "torch_mlp", "xgboost")
DOCUMENTS = {"snapshot.json", "metrics.json", "metadata.json", "diff_prev.json"}


@pytest.fixture
def documents(shop, second):
    """The named document of each of a run's cohorts."""

    def read(run: str, name: str) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted(shop.run_folder(run).glob(f"targets/**/{name}"))]

    return read


def test_the_layout_is_the_documented_one(shop, first):
    run = shop.run_folder("first")
    names = {path.name for path in run.iterdir()} - {"uncommitted.patch"}
    assert names == {"manifest.json", "environment.json", "log.jsonl", "targets"}
    assert sorted(path.name for path in (run / "targets").iterdir()) == ["fwd_ret_5d", "fwd_up_5d"]
    for target in (run / "targets").iterdir():
        views = target / "reproducibility"
        assert sorted(path.name for path in views.iterdir()) == ["CROSS_SECTIONAL", "SYMBOL_SPECIFIC"]
        (universe,) = (views / "CROSS_SECTIONAL").glob("universe=*")
        (alone,) = (views / "SYMBOL_SPECIFIC").iterdir()
        assert alone.name == "symbol=BBB"
        for folder, prefix in ((views / "CROSS_SECTIONAL", "cs"), (alone, "sy")):
            (cohort,) = folder.glob(f"cohort={prefix}_*")
            assert re.fullmatch(rf"cohort={prefix}_[0-9a-f]{{12}}", cohort.name)
            assert {path.name for path in cohort.iterdir()} >= DOCUMENTS | {"predictions", "models"}
            assert {path.stem for path in (cohort / "predictions").iterdir()} == set(FAMILIES)
            assert {path.name for path in (cohort / "models").iterdir()} == set(FAMILIES)
        for folder in (universe, alone):
            assert {path.stem for path in (folder / "feature_importances").iterdir()} == set(FAMILIES)


def test_cohorts_have_the_same_name_in_every_run_whatever_the_seed(shop, second):
    shop.run("--run-name", "other-seed", "--seed", "9", "--families", "ridge", "--quick")
    names = [
        sorted(path.name for path in shop.run_folder(run).glob("targets/**/cohort=*"))
        for run in ("first", "second", "other-seed")
    ]
    assert names[0] == names[1] == names[2]
    assert len(set(names[0])) == 4


def test_the_manifest_names_every_file_with_its_digest(shop, first):
    run = shop.run_folder("first")
    manifest = json.loads((run / "manifest.json").read_text())
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == found - {"manifest.json"}
    for name, entry in manifest["files"].items():
        data = (run / name).read_bytes()
        assert (entry["digest"], entry["size"]) == (digest_of(data), len(data))
    assert manifest["run_spec"]["image"]["manifest"].startswith("sha256:")
    assert [verdict["verdict"] for verdict in manifest["verdicts"]] == ["unverified"] * 16


def test_what_was_not_committed_is_kept_where_the_tree_was_dirty_and_only_there(shop, first, documents):
    patch = shop.run_folder("first") / "uncommitted.patch"
    for snapshot in documents("first", "snapshot.json"):
        code = snapshot["code"]
        assert patch.exists() is bool(code["dirty"])
        assert code["diff"] == (digest_of(patch.read_bytes()) if code["dirty"] else None)


def test_every_log_line_says_which_run_it_belongs_to(shop, documents):
    snapshot = documents("first", "snapshot.json")[0]
    manifest = json.loads((shop.run_folder("first") / "manifest.json").read_text())
    lines = [json.loads(line) for line in (shop.run_folder("first") / "log.jsonl").read_text().splitlines()]
    assert len(lines) >= 5
    for line in lines:
        assert line["run_id"] == manifest["run_id"]
        assert line["commit"] == snapshot["code"]["commit"]
        assert line["image"] == manifest["run_spec"]["image"]["manifest"]
        assert line["seed"] == 42
        assert {"time", "level", "message"} <= line.keys()


def test_metadata_holds_the_datas_statistics_and_each_splits_rows_and_classes(documents):
    for target, document in zip(("ret", "ret", "up", "up"), documents("first", "metadata.json"), strict=True):
        data = document["data"]
        assert [column["name"] for column in data["columns"]] == ["ret_1d", "vol_5d", "rank_ret_5d"]
        for column in (*data["columns"], data["target"]):
            assert column["minimum"] <= column["mean"] <= column["maximum"]
            assert column["missing"] >= 0
        assert len(data["splits"]) == 2
        for split in data["splits"]:
            assert split["train"]["last_date"] < split["test"]["first_date"]
            for part in (split["train"], split["test"]):
                assert 0 < part["rows"] <= data["rows"]
                assert target == "ret" or sum(part["classes"].values()) == part["rows"]


def test_timings_are_recorded_by_fit_and_for_the_whole_run(shop, documents):
    for document in documents("first", "metadata.json"):
        assert set(document["families"]) == set(FAMILIES)
        for family in document["families"].values():
            assert len(family["seconds"]) == 2
            assert all(seconds["fit"] > 0 for seconds in family["seconds"])
    lines = [json.loads(line) for line in (shop.run_folder("first") / "log.jsonl").read_text().splitlines()]
    ended, timings = lines[-2:]
    assert (ended["message"], timings["message"]) == ("ended", "timings")
    assert 0 < timings["seconds"]["fits"] < ended["wall_seconds"]
    assert ended["peak_memory"] > 1 << 20


def test_the_first_run_has_a_difference_too_and_the_second_names_the_first(documents):
    for document in documents("first", "diff_prev.json"):
        assert document["comparable"] is False
        for family in document["families"].values():
            assert (family["verdict"], family["previous"]) == ("unverified", None)
            assert family["reasons"] == ["no earlier run of this cell"]
    for document in documents("second", "diff_prev.json"):
        assert document["comparable"] is True
        assert (document["changed_keys"], document["outputs_changed"], document["metric_deltas"]) == ([], {}, {})
        for family in document["families"].values():
            assert (family["verdict"], family["severity"]) == ("identical", "none")
            assert family["previous"]["run_name"] == "first"


def test_the_history_has_a_line_a_cell_and_run(shop, second):
    entries = [json.loads(line) for line in (shop.results / "history.jsonl").read_text().splitlines()]
    of = [entry for entry in entries if entry["run"]["run_name"] == "second"]
    assert [entry["verdict"]["verdict"] for entry in of] == ["identical"] * 16
