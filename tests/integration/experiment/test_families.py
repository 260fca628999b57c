"""Families and settings as they are written in an experiment's file."""

import pytest

pytestmark = pytest.mark.docker

WRITTEN = """
name: own
data: {path: panel.csv}
features: [ret_1d, vol_5d]
targets: [fwd_ret_5d]
families:
  lgb_small: {library: lightgbm, n_estimators: 5}
folds: {count: 1, min_train: 150}
"""
NO_DATA = WRITTEN.replace("data: {path: panel.csv}", "data: {}")
FREE = "reproducibility: {strict: {enforce_stable_ordering: false}}\n"


def test_a_family_with_a_name_of_its_own_is_trained_with_the_library_it_names(own_shop):
    (own_shop.folder / "own.yaml").write_text(NO_DATA)
    finished = own_shop.run("--run-name", "own", "--data-dir", "panel.csv", experiment="own.yaml", timeout=300)
    assert finished.code == 0, finished
    (line,) = finished.fingerprints
    assert "family=lgb_small" in line
    assert list(own_shop.run_folder("own").rglob("models/lgb_small/fold0.txt"))


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("n_estimators: 5", "n_estimators: 5, lambda_l1: .inf", "families.lgb_small.lambda_l1 is inf"),
        ("n_estimators: 5", "n_estimators: 5, num_leaves: .nan", "families.lgb_small.num_leaves is nan"),
        ("library: lightgbm", "library: lihgtgbm", "families.lgb_small.library is 'lihgtgbm'"),
        ("folds:", FREE + "folds:", "a strict run always sorts"),
    ],
)
def test_what_would_not_be_trained_as_written_is_refused(own_shop, old, new, part):
    (own_shop.folder / "own.yaml").write_text(WRITTEN.replace(old, new))
    finished = own_shop.run(experiment="own.yaml")
    assert finished.code == 2
    assert part in finished.sentence
    assert own_shop.left() == []


def test_a_mode_given_on_the_command_line_decides_what_the_file_may_switch_off(own_shop):
    (own_shop.folder / "own.yaml").write_text(WRITTEN + FREE)
    assert own_shop.run("--mode", "best_effort", experiment="own.yaml").code == 0
    assert own_shop.run(experiment="own.yaml", REPRO_MODE="best_effort").code == 0
    assert own_shop.run("--mode", "strict", experiment="own.yaml", REPRO_MODE="best_effort").code == 2
