"""A fit that is stopped after each segment and goes on from checkpoints ends with the bits of an uninterrupted one."""

import os
from typing import Any

import numpy as np
import pytest

from harness.errors import IncomparableError, IntegrityError, UsageError
from harness.strict.checkpoints import Checkpoints
from harness.strict.estimators import create_estimator

EVERY = 4
FITS: dict[str, tuple[str, dict[str, Any]]] = {
    "lightgbm": ("lightgbm", {"n_estimators": 14, "bagging_fraction": 0.6, "bagging_freq": 1, "feature_fraction": 0.7}),
    "lightgbm, early stopping": (
        "lightgbm",
        {"n_estimators": 40, "learning_rate": 0.2, "num_leaves": 4, "bagging_fraction": 0.6, "bagging_freq": 1,
         "early_stopping_rounds": 6},
    ),
    "lightgbm, l1": ("lightgbm", {"n_estimators": 12, "objective": "l1", "extra_trees": True}),
    "xgboost": ("xgboost", {"n_estimators": 14, "subsample": 0.6, "colsample_bytree": 0.7}),
    "xgboost, early stopping": (
        "xgboost",
        {"n_estimators": 40, "eta": 0.3, "max_depth": 2, "subsample": 0.6, "early_stopping_rounds": 6},
    ),
    "xgboost, dart": ("xgboost", {"n_estimators": 12, "booster": "dart", "rate_drop": 0.5}),
    "xgboost, linear": ("xgboost", {"n_estimators": 12, "booster": "gblinear", "updater": "coord_descent"}),
    "torch": ("torch", {"epochs": 10, "hidden": [8], "batch_size": 64, "dropout": 0.3, "weight_decay": 0.01}),
    "torch, early stopping": (
        "torch",
        {"epochs": 60, "hidden": [16], "batch_size": 64, "dropout": 0.1, "learning_rate": 0.05,
         "early_stopping_rounds": 6},
    ),
}  # fmt: skip
LIBRARIES = ("lightgbm", "xgboost", "torch")


class Interrupted(Exception):  # noqa: N818 - it is no error
    """What stops a fit in these tests."""


class Interrupting(Checkpoints):
    """Checkpoints whose user is stopped right after the first is on the disk."""

    def save(self, step, state):
        super().save(step, state)
        raise Interrupted


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((600, 4))
    return features, features[:, 0] + rng.standard_normal(600), rng.random(600)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def make(library: str, config: dict[str, Any], *, seed=42, every: int | None = EVERY, checkpoints=None, **options: Any):
    return create_estimator(
        library, config, seed, "regression", strict=True, checkpoint_every=every, checkpoints=checkpoints, **options
    )


def bits(model, rows) -> tuple[bytes, bytes]:
    return model.canonical(), model.predict(rows[0]).tobytes()


@pytest.mark.parametrize("name", FITS)
def test_a_fit_stopped_after_each_segment_ends_with_the_bits_of_an_uninterrupted_one(name, rows, folder):
    library, config = FITS[name]
    whole = make(library, config).fit(*rows)
    stops = 0
    while True:
        model = make(library, config, checkpoints=Interrupting(folder, identity="one"))
        try:
            model.fit(*rows)
            break
        except Interrupted:
            stops += 1
    assert stops >= 3
    assert bits(model, rows) == bits(whole, rows)
    # One that is not interrupted saves along the way and ends the same.
    saved = make(library, config, checkpoints=Checkpoints(folder.parent / "other", identity="one")).fit(*rows)
    assert bits(saved, rows) == bits(whole, rows)


@pytest.mark.parametrize("library", LIBRARIES)
def test_another_seed_gives_another_model(library, rows):
    config = FITS[library][1]
    assert make(library, config).fit(*rows).canonical() != make(library, config, seed=43).fit(*rows).canonical()


@pytest.mark.parametrize(("library", "changes"), [("lightgbm", True), ("xgboost", True), ("torch", False)])
def test_segments_change_the_bits_of_boosting_and_not_of_a_network(library, changes, rows):
    config = FITS[library][1]
    plain = make(library, config, every=None).fit(*rows)
    assert (bits(plain, rows) != bits(make(library, config).fit(*rows), rows)) is changes
    # One segment is the whole fit.
    assert bits(plain, rows) == bits(make(library, config, every=100).fit(*rows), rows)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_checkpoint_of_another_fit_is_refused_by_what_differs(library, rows, folder):
    config = FITS[library][1]
    features, target, weight = rows
    with pytest.raises(Interrupted):
        make(library, config, checkpoints=Interrupting(folder, identity="one")).fit(*rows)
    rounds = "epochs" if library == "torch" else "n_estimators"
    changed = target.copy()
    changed[7] += 1.0
    for words, other, options, given in (
        ("target", config, {}, (features, changed, weight)),
        ("features", config, {}, (features * 2, target, weight)),
        ("weight", config, {}, (features, target, weight * 2)),
        ("hyperparameters", {**config, rounds: config[rounds] + 1}, {}, rows),
        ("seed", config, {"seed": 43}, rows),
        ("checkpoint_every", config, {"every": 2}, rows),
    ):
        checkpoints = Checkpoints(folder, identity="one")
        with pytest.raises(IncomparableError, match=words):
            make(library, other, checkpoints=checkpoints, **options).fit(*given)


def test_a_checkpoint_of_anything_else_is_refused(rows, folder):
    Checkpoints(folder, identity="one").save(4, {"model": b"", "epoch": 4})
    with pytest.raises(IntegrityError, match="holds no fit"):
        make("xgboost", {}, checkpoints=Checkpoints(folder, identity="one")).fit(*rows)


def test_what_cannot_be_fitted_in_segments_is_refused(tmp_path):
    for boosting in ("dart", "rf"):
        with pytest.raises(UsageError, match=f"boosting='{boosting}' is refused"):
            make("lightgbm", {"boosting": boosting})
        assert make("lightgbm", {"boosting": boosting}, every=None)
    with pytest.raises(UsageError, match="checkpoint_every is 0"):
        make("xgboost", {}, every=0)
    with pytest.raises(UsageError, match="nothing says how often"):
        make("xgboost", {}, every=None, checkpoints=Checkpoints(tmp_path, identity="one"))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_what_depends_on_threads_goes_on_only_with_as_many(rows, folder):
    for library in LIBRARIES:
        config = FITS[library][1]
        with pytest.raises(Interrupted):
            make(library, config, checkpoints=Interrupting(folder / library, identity="one")).fit(*rows)
        other = make(library, config, checkpoints=Checkpoints(folder / library, identity="one"), threads=2)
        if library != "lightgbm":
            with pytest.raises(IncomparableError, match="threads"):
                other.fit(*rows)
        else:
            assert bits(other.fit(*rows), rows) == bits(make(library, config).fit(*rows), rows)
