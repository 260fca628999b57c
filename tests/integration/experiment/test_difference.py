"""Something differs: what it was is named, and only the cells that it concerns are touched."""

import json
from collections import defaultdict

import msgspec
import pytest

from harness.spec.variables import not_covered

pytestmark = pytest.mark.docker

FAMILIES = {"lightgbm", "ridge", "torch_mlp", "xgboost"}


def by_family(compared):
    """The verdict, the changed keys and the first word of each reason, by family."""
    found = defaultdict(set)
    for cell in compared:
        found[cell["family"]].add((cell["verdict"], tuple(cell["changed_keys"]), len(cell["reasons"])))
    return dict(found)


def test_another_seed_is_the_one_reason(shop, first):
    finished = shop.run("--run-name", "seed", "--seed", "7", "--workers", "2")
    assert finished.code == 0
    code, compared = shop.compare("first", "seed")
    assert code == 3
    assert by_family(compared) == {family: {("incomparable", ("train_seed",), 1)} for family in FAMILIES}
    outputs = {cell["family"]: cell["changed_outputs"] for cell in compared}
    assert "predictions" in outputs["torch_mlp"]
    assert "model" in outputs["lightgbm"]
    assert finished.fingerprints != first.fingerprints


def test_one_changed_price_is_the_one_reason(shop, first, panel_writer):
    panel_writer(shop.folder / "altered.csv", changed=True)
    before, after = (path.read_text().splitlines() for path in (shop.folder / "panel.csv", shop.folder / "altered.csv"))
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1
    finished = shop.run("--run-name", "altered", "--data-dir", "altered.csv", "--families", "ridge,lightgbm,xgboost")
    assert finished.code == 0
    code, compared = shop.compare("first", "altered")
    assert code == 3
    found = by_family(compared)
    assert found.pop("torch_mlp") == {("unverified", (), 1)}
    assert found == {family: {("incomparable", ("dataset_signature",), 1)} for family in FAMILIES - {"torch_mlp"}}


def test_the_same_prices_in_another_file_are_the_same_data(shop, first):
    lines = (shop.folder / "panel.csv").read_text().splitlines()
    (shop.folder / "reversed.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    shop.run("--run-name", "reversed", "--data-dir", "reversed.csv", "--families", "ridge")
    compared = [cell for cell in shop.compare("first", "reversed")[1] if cell["family"] == "ridge"]
    assert [cell["verdict"] for cell in compared] == ["identical"] * 4


def test_a_familys_hyperparameter_leaves_the_other_families_identical(shop, first):
    text = (shop.folder / "tiny.yaml").read_text()
    (shop.folder / "leaves.yaml").write_text(text.replace("num_leaves: 7", "num_leaves: 8"))
    finished = shop.run("--run-name", "leaves", "--json", experiment="leaves.yaml")
    assert finished.code == 0
    verdicts = {cell["family"]: cell for cell in msgspec.json.decode(finished.stdout)["cells"]}
    assert verdicts["lightgbm"]["verdict"] == "unverified"
    assert "hyperparameters_signature" in verdicts["lightgbm"]["reasons"][1]
    code, compared = shop.compare("first", "leaves")
    assert code == 3
    assert by_family(compared) == {
        "lightgbm": {("incomparable", ("hyperparameters_signature",), 1)},
        **{family: {("identical", (), 0)} for family in FAMILIES - {"lightgbm"}},
    }


@pytest.fixture(scope="module")
def plugged(shop, first):
    """Two runs by one command, with families that do not repeat."""
    return shop.run("--run-name", "plugged", "--runs", "2", "--plugins", "plugins", experiment="plugged.yaml")


def test_a_family_that_does_not_repeat_is_divergent_and_answers_1(shop, plugged):
    assert plugged.code == 1
    code, compared = shop.compare("plugged-1", "plugged-2")
    assert code == 1
    assert {cell["family"]: cell["verdict"] for cell in compared} == {
        "noisy": "divergent", "shy": "divergent", "ridge": "identical", "steady": "identical"
    }  # fmt: skip
    assert "gave other bits in the same environment" in plugged.stdout


def test_changed_predictions_under_unchanged_metrics_are_reported(shop, plugged):
    compared = {cell["family"]: cell for cell in shop.compare("plugged-1", "plugged-2")[1]}
    assert compared["shy"]["changed_outputs"] == ["predictions"]
    assert compared["shy"]["metric_deltas"] == {}
    assert compared["shy"]["reasons"] == ["predictions changed under unchanged metrics"]
    assert "metrics" in compared["noisy"]["changed_outputs"]
    assert compared["noisy"]["metric_deltas"] != {}
    (file,) = shop.run_folder("plugged-2").glob("targets/*/reproducibility/CROSS_SECTIONAL/cohort=*/diff_prev.json")
    assert "predictions changed under unchanged metrics" in file.read_text()


def test_best_effort_runs_and_is_never_taken_for_strict(shop, first):
    finished = shop.run("--run-name", "loose", "--mode", "best_effort", "--families", "ridge,lightgbm", "--json")
    assert finished.code == 0
    report = msgspec.json.decode(finished.stdout)
    assert "best_effort seeds, and" in report["advice"]
    code, compared = shop.compare("first", "loose")
    assert code == 3
    keys = {key for cell in compared if cell["verdict"] == "incomparable" for key in cell["changed_keys"]}
    assert "mode" in keys
    assert not any(cell["verdict"] in ("identical", "divergent") for cell in compared)


def test_best_effort_repeats_where_nothing_is_left_to_chance(shop, first):
    arguments = ("--mode", "best_effort", "--families", "ridge", "--workers", "1", "--quick")
    finished = shop.run(*arguments, "--runs", "2", "--json")
    assert finished.code == 0
    last = msgspec.json.decode(finished.stdout.splitlines()[1])
    assert {cell["verdict"] for cell in last["cells"]} == {"identical"}


def test_the_portable_profile_runs_and_says_what_it_does_not_cover(shop, first):
    arguments = ("--profile", "x86-64-v3", "--families", "torch_mlp", "--runs", "2")
    finished = shop.run("--run-name", "portable", *arguments)
    assert finished.code == 0
    for limit in not_covered("x86-64-v3"):
        assert limit in finished.stderr
        assert limit not in first.stderr
    assert shop.compare("portable-1", "portable-2")[0] == 0
    code, compared = shop.compare("first", "portable-1")
    assert code == 3
    compared = [cell for cell in compared if cell["verdict"] != "unverified"]
    assert len(compared) == 4
    assert all({"profile", "environment_signature"} <= set(cell["changed_keys"]) for cell in compared)


def test_a_host_run_is_never_comparable_with_a_container_run(shop, first):
    finished = shop.run("--run-name", "host", "--engine", "host", "--families", "ridge,lightgbm", "--json", timeout=900)
    assert finished.code == 0, finished.stderr
    code, compared = shop.compare("first", "host")
    assert code == 3
    shared = [cell for cell in compared if cell["verdict"] != "unverified"]
    assert len(shared) == 8
    for cell in shared:
        assert cell["verdict"] == "incomparable"
        assert "environment_signature" in cell["changed_keys"]
        assert any("image" in reason for reason in cell["reasons"])
    snapshot = json.loads(next(shop.run_folder("host").glob("targets/**/snapshot.json")).read_text())
    assert snapshot["environment"]["image"] is None
    again = shop.run("--engine", "host", "--families", "ridge", "--json")
    assert {cell["verdict"] for cell in msgspec.json.decode(again.stdout)["cells"]} == {"identical"}
