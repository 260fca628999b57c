import hashlib

import numpy as np
import pytest

from harness.errors import UsageError
from harness.strict.seeds import MODULUS, resolve_seed
from harness.strict.trials import trial_seed


def test_a_numbered_trial_has_the_seed_of_recipe_v2():
    text = '[42,"trial",null,null,null,null,"v2",7]'
    assert trial_seed(42, 7) == int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) % MODULUS
    assert trial_seed(42, 7) == resolve_seed(42, "trial", version="v2", trial=7)


def test_a_trial_by_its_parameters_has_one_seed_however_they_are_written():
    text = b'{"depth":3,"lr":"float:0x1.999999999999ap-4"}'
    number = int(hashlib.sha256(text).hexdigest()[:32], 16)
    expected = resolve_seed(42, "trial-parameters", version="v2", trial=number)
    for parameters in ({"lr": 0.1, "depth": 3}, {"depth": np.int64(3), "lr": np.float64(0.1)}):
        assert trial_seed(42, parameters) == expected


def test_other_parameters_numbers_and_bases_have_other_seeds():
    trials = [
        0,
        1,
        {},
        {"a": 1},
        {"a": 1.0},
        {"a": "1"},
        {"a": True},
        {"a": None},
        {"a": [1]},
        {"a": {"b": 1}},
        {"b": 1},
    ]
    seeds = [trial_seed(base, trial) for base in (42, 43) for trial in trials]
    assert len(set(seeds)) == len(seeds)
    assert all(0 < seed < MODULUS for seed in seeds)


@pytest.mark.parametrize("trial", [-1, 1.5, "1", None, True, {"a": object()}, {1: 2}, {"a": {1, 2}}, [1]])
def test_what_is_no_trial_is_refused(trial):
    with pytest.raises(UsageError):
        trial_seed(42, trial)


def test_parameters_that_hold_themselves_are_refused():
    parameters = {}
    parameters["self"] = parameters
    with pytest.raises(UsageError, match="cannot be written down"):
        trial_seed(42, parameters)


def test_a_base_that_is_no_seed_is_refused():
    for trial in (1, {"a": 1}):
        with pytest.raises(UsageError, match="not a seed"):
            trial_seed(-1, trial)
