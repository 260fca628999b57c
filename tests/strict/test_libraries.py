"""What programs of their own that call LightGBM, XGBoost and scikit-learn give with the hook, on one thread and two."""

import json
import os
from importlib.util import find_spec

import pytest

from harness.spec.variables import TABLE

two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
THREADS = [count for count in (1, 2, 3, 4) if count <= len(os.sched_getaffinity(0))]

DATA = """
import hashlib, json
import numpy as np
rng = np.random.default_rng(0)
x = rng.standard_normal((6000, 5))
heavy = np.exp(6 * rng.standard_normal(len(x))) * np.sign(x[:, 0])
def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
"""
LIGHTGBM = (
    DATA
    + """
import lightgbm
settings = {"n_estimators": 10, "num_leaves": 63, "verbosity": -1, "n_jobs": -1, "subsample": 0.7, "subsample_freq": 1}
given = json.loads(r'''GIVEN''')
held = lightgbm.LGBMRegressor(**settings, **given).fit(
    x[:4000], heavy[:4000], eval_set=[(x[4000:], heavy[4000:])], callbacks=[lightgbm.early_stopping(3, verbose=False)]
)
plain = lightgbm.train({**settings, **given}, lightgbm.Dataset(x, heavy), 10)
print(digest(held.predict(x)), held.best_iteration_, json.dumps(held.evals_result_), digest(plain.predict(x)))
"""
)


def threads(count: int) -> dict[str, str]:
    """The variables of a run with `count` threads in a reduction."""
    chosen = {variable.name: str(count) for variable in TABLE if variable.thread_count}
    return {**chosen, "REPRO_THREADS": str(count)}


def outputs(script, source: str, *, told: bool = False, **changes: str) -> set[str]:
    """What a script prints at each number of threads here; `told` that something stays as it is."""
    ended = [script(source, **threads(count), **changes) for count in THREADS]
    assert [end.returncode for end in ended] == [0] * len(THREADS), ended
    assert {"stays" in end.stderr for end in ended} == {told}
    return {end.stdout for end in ended}


pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("lightgbm", "xgboost", "sklearn")), reason="needs the three libraries"
)


ROW_WISE = '{"force_row_wise": true}'


@two_cores
@pytest.mark.parametrize("given", ["{}", ROW_WISE])
def test_a_script_with_lightgbm_gives_the_same_on_every_number_of_threads_metrics_and_early_stopping_too(script, given):
    assert len(outputs(script, LIGHTGBM.replace("GIVEN", given), told=given == ROW_WISE)) == 1


@two_cores
def test_without_strict_the_same_script_differs_between_one_thread_and_two(script):
    """The negative twin: these rows and settings are such that LightGBM's threads are seen."""
    assert len(outputs(script, LIGHTGBM.replace("GIVEN", ROW_WISE), mode="best_effort")) > 1


def test_what_a_script_sets_against_it_is_kept_and_said_once(script):
    given = '{"force_row_wise": true, "deterministic": false, "linear_tree": true}'  # the last is allowed in one thread
    ended = script(LIGHTGBM.replace("GIVEN", given))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("force_row_wise stays False, not True") == 1
    assert ended.stderr.count("deterministic stays True, not False") == 1


@two_cores
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("linear_tree", True, "linear_tree is refused in 2 threads"),
        ("use_quantized_grad", "true", "use_quantized_grad is refused in 2 threads"),
        ("device", "gpu", "(atomicAdd); set device=cpu, or use REPRO_MODE=best_effort"),
    ],
)
def test_what_cannot_be_had_on_two_threads_ends_a_script(script, setting, value, words):
    ended = script(LIGHTGBM.replace("GIVEN", json.dumps({setting: value})), **threads(2))
    assert ended.returncode == 4
    assert words in ended.stderr


XGBOOST = (
    DATA
    + """
import xgboost
model = xgboost.XGBRegressor(n_estimators=10, n_jobs=-1, subsample=0.7, **json.loads(r'''GIVEN''')).fit(x, heavy)
print(digest(model.predict(x)))
"""
)


@two_cores
def test_a_script_with_xgboost_gives_the_same_on_every_number_of_threads(script):
    assert len(outputs(script, XGBOOST.replace("GIVEN", "{}"))) == 1
    linear = '{"booster": "gblinear", "updater": "coord_descent", "learning_rate": 0.1}'
    assert script(XGBOOST.replace("GIVEN", linear).replace("subsample=0.7, ", ""), **threads(2)).returncode == 0


@two_cores
def test_xgboosts_race_ends_a_script_on_two_threads_and_runs_on_one(script):
    # It is what a linear booster has where nothing is said.
    source = XGBOOST.replace("GIVEN", '{"booster": "gblinear"}').replace("subsample=0.7, ", "")
    ended = script(source, **threads(2))
    assert ended.returncode == 4
    assert "shotgun is refused in 2 threads" in ended.stderr
    assert script(source).returncode == 0


SKLEARN = (
    DATA
    + """
from sklearn.cluster import KMeans
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingRegressor, RandomForestRegressor
forest = RandomForestRegressor(20, max_depth=6, n_jobs=-1, random_state=0).fit(x, heavy)
extra = ExtraTreesClassifier(20, max_depth=6, n_jobs=2, random_state=0).fit(x, heavy > 0)
print(len({digest(forest.predict(x)) for _ in range(8)}), digest(forest.predict(x), extra.predict_proba(x)))
print(digest(HistGradientBoostingRegressor(max_iter=10, random_state=0).fit(x, heavy).predict(x)))
print(digest(KMeans(5, n_init=1, max_iter=20, random_state=0).fit(x * np.exp(3 * x[:, :1])).cluster_centers_))
"""
)


@two_cores
def test_forests_boosting_and_k_means_of_scikit_learn_give_the_same_on_every_number_of_threads(script):
    (printed,) = outputs(script, SKLEARN)
    assert printed.startswith("1 ")
    assert "forests predict in 1 thread, not 2" in script(SKLEARN, **threads(2)).stderr


@two_cores
def test_without_strict_a_forests_predictions_differ_from_call_to_call_on_two_threads(script):
    """The negative twin: thread order is seen in these sums."""
    ended = script(SKLEARN, mode="best_effort", **threads(2))
    assert ended.returncode == 0, ended.stderr
    assert not ended.stdout.startswith("1 ")


@two_cores
def test_without_strict_k_means_differs_between_one_thread_and_two_and_boosting_does_not(script):
    """The negative twin for k-means. Boosting needs nothing of strict; what is printed of it would tell."""
    printed = [text.splitlines() for text in outputs(script, SKLEARN, mode="best_effort")]
    boosting, centres = ({lines[place] for lines in printed} for place in (1, 2))
    assert len(centres) > 1
    assert len(boosting) == 1
    other = SKLEARN.replace("max_iter=10", "max_iter=11")
    assert not boosting & {text.splitlines()[1] for text in outputs(script, other, mode="best_effort")}
