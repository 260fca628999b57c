from typing import Any

import pytest

from harness.errors import IntegrityError, UsageError
from harness.spec.experiment import BUILT_IN_FAMILIES
from harness.strict.estimators import LIBRARIES
from harness.training.families import Family, libraries_of, resolve_families

PROBES = {"numpy": {"dot": "a"}, "lightgbm": {"fit": "b"}, "xgboost": {"fit": "c"}, "torch": {"mm": "d"}}


def family(name: str = "lightgbm", **hyperparameters: Any) -> Family:
    return resolve_families({name: hyperparameters})[0]


def test_families_come_by_name_whatever_their_order_in_the_file():
    one = resolve_families({"xgboost": {}, "ridge": {}, "lightgbm": {}})
    assert [each.name for each in one] == ["lightgbm", "ridge", "xgboost"]
    assert libraries_of(one) == ("lightgbm", "numpy", "xgboost")


@pytest.mark.parametrize("name", ["n_jobs", "num_threads", "nthread", "seed", "random_state", "bagging_seed"])
def test_seeds_and_thread_counts_enter_no_signature(name):
    assert family(**{name: 3}).hyperparameters_signature == family().hyperparameters_signature


@pytest.mark.parametrize("changed", [{"num_leaves": 32}, {"num_leaves": 31.0}, {"num_leaves": 31, "max_bin": 63}])
def test_another_hyperparameter_changes_the_signature(changed):
    assert family(**changed).hyperparameters_signature != family(num_leaves=31).hyperparameters_signature


def test_the_order_of_hyperparameters_does_not_matter_and_the_library_does():
    one, two = family(eta=0.1, max_depth=3), family(max_depth=3, eta=0.1)
    assert one.hyperparameters_signature == two.hyperparameters_signature
    other = family("xgboost", eta=0.1, max_depth=3)
    assert one.hyperparameters_signature != other.hyperparameters_signature


def test_the_probe_of_a_library_changes_the_signatures_of_its_families_alone():
    changed = {**PROBES, "lightgbm": {"fit": "x"}}
    assert family().probe_signature(PROBES) != family().probe_signature(changed)
    assert family("xgboost").probe_signature(PROBES) == family("xgboost").probe_signature(changed)
    everywhere = {**PROBES, "numpy": {"dot": "x"}}
    assert family("xgboost").probe_signature(PROBES) != family("xgboost").probe_signature(everywhere)


def test_a_library_that_was_not_probed_is_named():
    with pytest.raises(IntegrityError, match="torch"):
        family("torch_mlp").probe_signature({"numpy": {}})


@pytest.mark.parametrize(("name", "entering"), [("lightgbm", None), ("xgboost", 2), ("torch_mlp", 2), ("ridge", 2)])
def test_threads_enter_the_group_only_where_they_were_not_shown_to_change_no_bit(name, entering):
    assert family(name).threads_in_group(2, strict=True) == entering
    assert family(name).threads_in_group(2, strict=False) == 2


def test_a_users_own_objective_puts_threads_into_the_group_and_its_libraries_are_probed():
    own = family("lightgbm", custom_objective="losses:asymmetric", libraries=["scipy"])
    assert own.threads_in_group(2, strict=True) == 2
    assert own.probes == ("lightgbm", "numpy", "scipy")
    assert family("noise", plugin="noise:make").threads_in_group(2, strict=True) == 2


@pytest.mark.parametrize(("name", "changes"), [("lightgbm", True), ("xgboost", True), ("torch_mlp", False)])
def test_segments_enter_the_signature_of_the_families_whose_bits_they_change(name, changes):
    plain, two, three = (resolve_families({name: {}}, every)[0].hyperparameters_signature for every in (None, 2, 3))
    assert (len({plain, two, three}) == 3) is changes
    assert (plain == two == three) is not changes


def test_the_libraries_that_an_experiment_may_name_are_those_there_are():
    assert {*BUILT_IN_FAMILIES.values(), "plugin"} == set(LIBRARIES)
    assert all(family(name).library == library for name, library in BUILT_IN_FAMILIES.items())


def test_a_name_of_ones_own_says_what_it_is():
    deep = family("deep", library="lightgbm", num_leaves=255)
    assert (deep.library, deep.hyperparameters) == ("lightgbm", {"num_leaves": 255})
    plugin = family("noise", plugin="noise:make", libraries=["torch"], level=3)
    assert (plugin.library, plugin.imports, plugin.probes) == ("plugin", ("torch",), ("numpy", "torch"))


@pytest.mark.parametrize(
    ("families", "words"),
    [
        ({}, "no families"),
        ({"lightgmb": {}}, "Did you mean lightgbm"),
        ({"deep": {"library": "lightgmb"}}, "lightgmb"),
        ({"deep": {"library": 3}}, "families.deep.library"),
        ({"deep": {"library": "plugin"}}, "families.deep.library"),
        ({"deep": {"library": "lightgbm", "plugin": "a:b"}}, "both"),
        ({"deep": {"plugin": "a:b", "libraries": "torch"}}, "families.deep.libraries"),
        ({"../up": {}}, "family"),
        ({"lightgbm": {"eta": float("nan")}}, "families.lightgbm"),
    ],
)
def test_what_is_no_family_is_named(families, words):
    with pytest.raises(UsageError) as caught:
        resolve_families(families)
    assert words in str(caught.value)
