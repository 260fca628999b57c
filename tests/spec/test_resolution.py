from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import UsageError
from harness.spec.documents import parse_document
from harness.spec.experiment import BUILT_IN_FAMILIES, Experiment, View
from harness.spec.resolution import day_number, find_experiment, load_experiment, resolve_experiment
from harness.spec.run import Mode

TEXT = """
name: trial
data: {dataset: sp500, symbols: [AAPL, JPM, XOM]}
features: [ret_5d, vol_20d]
targets: [fwd_ret_10d, fwd_up_5d]
views: [CROSS_SECTIONAL, SYMBOL_SPECIFIC]
symbol_specific: [XOM, AAPL]
families:
  lightgbm: {n_estimators: 100, num_leaves: 31}
  mine: {plugin: "package.module:factory"}
quick:
  folds: {count: 2}
  families: {lightgbm: {n_estimators: 5}}
"""


def trial(**changes: Any) -> Experiment:
    experiment = parse_document(TEXT, Experiment, "trial.yaml")
    return msgspec.convert({**msgspec.to_builtins(experiment), **changes}, Experiment)


def test_an_experiment_resolves_to_itself_without_quick() -> None:
    assert resolve_experiment(trial()) == trial(quick={})


def test_quick_is_merged_key_by_key() -> None:
    quick = resolve_experiment(trial(), quick=True)
    assert quick.families["lightgbm"] == {"n_estimators": 5, "num_leaves": 31}
    assert quick.folds.count == 2
    assert quick.folds.min_train == trial().folds.min_train
    assert quick.quick == {}


def test_overrides_replace_what_the_experiment_says() -> None:
    resolved = resolve_experiment(
        trial(),
        data="prices.csv",
        symbols=["JPM", "AAPL"],
        targets=["fwd_ret_1d"],
        features=["ret_1d"],
        families=["lightgbm"],
        mode=Mode.BEST_EFFORT,
        seed=7,
    )
    assert (resolved.data.dataset, resolved.data.path, resolved.data.symbols) == (None, "prices.csv", ("JPM", "AAPL"))
    assert (resolved.targets, resolved.features, list(resolved.families)) == (
        ("fwd_ret_1d",),
        ("ret_1d",),
        ["lightgbm"],
    )
    assert (resolved.reproducibility.mode, resolved.reproducibility.seed) == (Mode.BEST_EFFORT, 7)
    assert resolved.symbol_specific == ("AAPL",)


def test_symbols_of_ones_own_are_all_trained_alone() -> None:
    assert resolve_experiment(trial(), symbols=["KO", "PEP"]).symbol_specific == ("KO", "PEP")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"name": "../x"}, "U+002F"),
        ({"name": ""}, "experiment is empty"),
        ({"data": {}}, "neither a dataset nor a path"),
        ({"data": {"dataset": "a", "path": "b"}}, "both a dataset and a path"),
        ({"data": {"path": ""}}, "data.path is empty"),
        ({"data": {"dataset": "a/b"}}, "U+002F"),
        ({"data": {"dataset": "a", "symbols": []}}, "data.symbols is empty"),
        ({"data": {"dataset": "a", "symbols": ["AAPL", "XOM", "x/y"]}}, "U+002F"),
        ({"data": {"dataset": "a", "symbols": ["AAPL", "XOM", "aapl"]}}, "differ in case alone"),
        ({"data": {"dataset": "a", "start": "1990"}}, "data.start '1990' is not a date"),
        ({"data": {"dataset": "a", "end": "2020-02-30"}}, "data.end '2020-02-30' is not a date"),
        ({"data": {"dataset": "a", "start": "2020-01-02", "end": "2020-01-01"}}, "is after"),
        ({"data": {"dataset": "a", "price_column": "symbol"}}, "'symbol' twice"),
        ({"features": []}, "features is empty"),
        ({"features": ["ret_1d", "ret_1d"]}, "features has 'ret_1d' twice"),
        ({"features": ["ret_1x"]}, "There is no feature"),
        ({"targets": []}, "targets is empty"),
        ({"targets": ["fwd_ret_1d", "fwd_ret_1d"]}, "twice"),
        ({"targets": ["../etc"]}, "There is no target"),
        ({"views": []}, "views is empty"),
        ({"views": ["SYMBOL_SPECIFIC", "SYMBOL_SPECIFIC"]}, "twice"),
        ({"views": ["CROSS_SECTIONAL"]}, "views has no SYMBOL_SPECIFIC"),
        ({"symbol_specific": []}, "SYMBOL_SPECIFIC has no symbols"),
        ({"symbol_specific": ["KO"]}, "symbol_specific has KO, data.symbols has not"),
        ({"symbol_specific": ["XOM", "XOM"]}, "twice"),
        ({"data": {"dataset": "a", "symbols": ["XOM"]}, "symbol_specific": ["XOM"]}, "at least two symbols"),
        ({"families": {}, "quick": {}}, "families is empty"),
        ({"families": {"lihgtgbm": {}}, "quick": {}}, "There is no family 'lihgtgbm'"),
        ({"families": {"mine": {"plugin": "nowhere"}}, "quick": {}}, "families.mine.plugin is 'nowhere'"),
        ({"families": {"mine": {"plugin": None}}, "quick": {}}, "families.mine.plugin"),
        ({"families": {"xgboost": {"plugin": "a:b"}}, "quick": {}}, "xgboost is built in"),
        ({"families": {"mine": {"plugin": "a:b", "library": "torch"}}, "quick": {}}, "both plugin and library"),
        ({"families": {"mine": {"library": "lihgtgbm"}}, "quick": {}}, "families.mine.library is 'lihgtgbm'"),
        ({"families": {"mine": {"library": "torch_mlp"}}, "quick": {}}, "families.mine.library is 'torch_mlp'"),
        ({"families": {"mine": {"library": "plugin"}}, "quick": {}}, "families.mine.library is 'plugin'"),
        ({"families": {"mine": {"library": ["ridge"]}}, "quick": {}}, "families.mine.library"),
        ({"families": {"mine": {"library": None}}, "quick": {}}, "families.mine.library"),
        ({"families": {"ridge": {"library": "torch"}}, "quick": {}}, "ridge is built in"),
        ({"families": {"ridge": {"alpha": float("nan")}}, "quick": {}}, "families.ridge.alpha is nan"),
        (
            {"families": {"m": {"plugin": "a:b", "x": {"y": [1, -float("inf")]}}}, "quick": {}},
            "families.m.x.y[1] is -inf",
        ),
        ({"quick": {"families": {"lightgbm": {"eta": float("inf")}}}}, "quick.families.lightgbm.eta is inf"),
        ({"families": {"a/b": {"plugin": "a:b"}}, "quick": {}}, "U+002F"),
        ({"folds": {"purge": 9}}, "shorter than the horizon of fwd_ret_10d"),
        ({"quick": {"name": "x"}}, "quick.name cannot be overridden"),
        ({"quick": {"quick": {}}}, "quick.quick cannot be overridden"),
        ({"quick": {"flods": {}}}, "flods is not a known key"),
        ({"quick": {"folds": {"count": 0}}}, "folds.count is the number 0"),
        ({"quick": {"folds": 3}}, "folds is the number 3"),
        ({"quick": {"families": 3}}, "families is the number 3"),
        ({"quick": {"families": {"xgboost": {}}}}, "quick.families.xgboost is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_key(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_experiment(trial(**changes))
    assert part in caught.value.message, caught.value.message


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"families": ["xgboost"]}, "no family 'xgboost'"),
        ({"families": ["lightgbm", "lightgbm"]}, "twice"),
        ({"families": []}, "families is empty"),
        ({"symbols": []}, "data.symbols is empty"),
        ({"symbols": ["AAPL", "AAPL"]}, "twice"),
        ({"symbols": ["AAPL"]}, "at least two symbols"),
        ({"targets": []}, "targets is empty"),
        ({"features": ["bogus"]}, "There is no feature"),
        ({"seed": -1}, "The seed is -1"),
        ({"data": ""}, "data.path is empty"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(overrides: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_experiment(trial(), **overrides)
    assert part in caught.value.message, caught.value.message


@pytest.mark.parametrize("value", [".inf", "-.inf", ".NaN"])
def test_a_number_that_json_has_no_form_for_never_reaches_the_trainer(tmp_path: Path, value: str) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text(TEXT.replace("num_leaves: 31", f"num_leaves: 31, lambda_l1: {value}"))
    experiment = load_experiment(path)
    assert msgspec.json.decode(msgspec.json.encode(experiment), type=Experiment).families["lightgbm"] == {
        "n_estimators": 100, "num_leaves": 31, "lambda_l1": None
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"families\.lightgbm\.lambda_l1 is -?(inf|nan)"):
        resolve_experiment(experiment)


def test_what_is_accepted_comes_back_from_json_as_it_is() -> None:
    numbers = {"a": 1e308, "b": 5e-324, "c": [2**70, -0.0, {"d": 0.1}], "e": "inf", "f": None, "g": True}
    resolved = resolve_experiment(trial(families={"lightgbm": numbers}, quick={}))
    assert msgspec.json.decode(msgspec.json.encode(resolved), type=Experiment) == resolved


@pytest.mark.parametrize("library", sorted(set(BUILT_IN_FAMILIES.values())))
def test_a_family_may_have_a_name_of_its_own_and_a_library(library: str) -> None:
    families = {"mine": {"library": library}, **{name: {"library": BUILT_IN_FAMILIES[name]} for name in ["torch_mlp"]}}
    assert resolve_experiment(trial(families=families, quick={})).families == families


def test_the_error_for_an_unknown_library_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="Did you mean lightgbm"):
        resolve_experiment(trial(families={"mine": {"library": "lihgtgbm"}}, quick={}))


@pytest.mark.parametrize("key", ["require_env_vars", "enforce_stable_ordering"])
def test_what_a_strict_run_always_does_cannot_be_switched_off(key: str) -> None:
    off = trial(reproducibility={"strict": {key: False}})
    with pytest.raises(UsageError, match=rf"reproducibility\.strict\.{key} is false, and a strict run always"):
        resolve_experiment(off)
    assert resolve_experiment(trial(reproducibility={"strict": {key: True}})) == trial(quick={})
    for best_effort in ({"mode": Mode.BEST_EFFORT}, {"environ": {"REPRO_MODE": "best_effort"}}):
        assert not getattr(resolve_experiment(off, **best_effort).reproducibility.strict, key)


def test_variables_beat_the_file_and_flags_beat_both() -> None:
    environ = {"REPRO_MODE": "best_effort", "REPRO_SEED": "7"}
    settings = resolve_experiment(trial(), environ=environ, seed=8).reproducibility
    assert (settings.mode, settings.seed) == (Mode.BEST_EFFORT, 8)
    assert resolve_experiment(trial(), environ=environ).reproducibility.seed == 7
    assert resolve_experiment(trial()).reproducibility.seed is None


def test_what_quick_makes_of_an_experiment_is_checked_where_it_is_applied() -> None:
    experiment = trial(quick={"targets": []})
    assert resolve_experiment(experiment).targets == experiment.targets
    with pytest.raises(UsageError, match="trial with quick: targets is empty"):
        resolve_experiment(experiment, quick=True)


def test_an_experiment_without_data_takes_the_callers() -> None:
    assert resolve_experiment(trial(data={}), data="prices.csv", quick=True).data.path == "prices.csv"


def test_the_error_for_an_unknown_family_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="Did you mean lightgbm"):
        resolve_experiment(trial(families={"lihgtgbm": {}}, quick={}))


def test_the_default_experiment_is_in_the_package_and_makes_sense(tmp_path: Path) -> None:
    experiment = load_experiment(find_experiment("determinism_test", tmp_path))
    for quick in (False, True):
        resolved = resolve_experiment(experiment, quick=quick)
        assert resolved.name == "determinism_test"
        assert resolved.views == (View.CROSS_SECTIONAL, View.SYMBOL_SPECIFIC)
        assert len(resolved.symbol_specific) == 3
        assert list(resolved.families) == ["lightgbm", "xgboost", "torch_mlp"]


def test_an_experiment_is_found_as_a_path_then_in_the_folder_then_in_the_package(tmp_path: Path) -> None:
    packaged = find_experiment("determinism_test", tmp_path)
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "determinism_test.yaml").write_text(TEXT)
    (folder / "other.yml").write_text(TEXT)
    assert find_experiment("other", tmp_path) == folder / "other.yml"
    assert find_experiment("determinism_test", tmp_path) == folder / "determinism_test.yaml" != packaged
    (tmp_path / "determinism_test").write_text(TEXT)
    assert find_experiment("determinism_test", tmp_path) == tmp_path / "determinism_test"
    assert find_experiment("experiments/other.yml", tmp_path) == folder / "other.yml"
    assert find_experiment(str(packaged), tmp_path) == packaged


@pytest.mark.parametrize("name", ["determinsm_test", "no/such.yaml", "", "..", "a\0b", "x" * 5000])
def test_an_experiment_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="There is no experiment"):
        find_experiment(name, tmp_path)


def test_the_error_for_a_missing_experiment_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean determinism_test"):
        find_experiment("determinsm_test", tmp_path)


def test_days_are_counted_from_1970() -> None:
    assert (day_number("1970-01-01", "x"), day_number("1969-12-31", "x"), day_number("2000-03-01", "x")) == (
        0,
        -1,
        11017,
    )
