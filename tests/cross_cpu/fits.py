"""Whole fits on reduced data: networks with their optimizers, Lightning, boosting, the harness's own estimators.

The first steps of a network's fit are recorded call by call, the rest run as they would without a recorder.
"""

import contextlib
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.cross_cpu.digests import digest
from tests.cross_cpu.groups import Emit, Group
from tests.cross_cpu.numbers import heavy, uniform

ROOT = Path(__file__).parents[2]
RECORDED, FURTHER = 2, 3
"""Steps of a network's fit under the recorder, and steps after it."""
ROWS, EXAMPLE_ROWS = 600, 160


def groups() -> Iterator[Group]:
    """One group for each fit."""
    networks = (
        ("mlp", make_mlp, ("SGD", "Adam", "AdamW", "RMSprop")),
        ("cnn", _cnn, ("SGD", "AdamW")),
        ("lstm", _lstm, ("Adam",)),
        ("transformer", _transformer, ("AdamW",)),
    )
    for name, make, optimizers in networks:
        for optimizer in optimizers:
            yield Group(f"{name} {optimizer}", partial(fit_network, make, optimizer, False))
        yield Group(f"{name} in evaluation", partial(evaluate_network, make))
    yield Group("mlp AdamW bfloat16", partial(fit_network, make_mlp, "AdamW", True))
    yield Group("cnn AdamW bfloat16", partial(fit_network, _cnn, "AdamW", True))
    yield Group("transformer AdamW bfloat16", partial(fit_network, _transformer, "AdamW", True))
    for library in ("lightgbm", "xgboost", "torch", "ridge"):
        for kind in ("regression", "classification"):
            yield Group(f"estimator {library} {kind}", partial(_estimator, library, kind))
    yield Group("lightgbm", lightgbm_fit)
    yield Group("xgboost", xgboost_fit)
    yield Group("sklearn", _sklearn)
    yield Group("sklearn HistGradientBoosting", _gradient_boosting)
    yield Group("example digits.py", partial(_example, "digits.py", ["--epochs", "1"]))
    yield Group(
        "example lightning_digits.py", partial(_example, "lightning_digits.py", ["--epochs", "1", "--workers", "0"])
    )
    yield Group("lightning cnn and vit", _lightning)


def make_mlp(torch: Any) -> tuple[Any, tuple[int, ...]]:
    """A small perceptron, and the shape of a batch of its inputs."""
    nn = torch.nn
    layers = [nn.Linear(33, 65), nn.LayerNorm(65), nn.GELU(), nn.Dropout(0.1), nn.Linear(65, 31), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(31, 5)), (64, 33)


def _cnn(torch: Any) -> tuple[Any, tuple[int, ...]]:
    nn = torch.nn
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3)]
    return nn.Sequential(*layers, nn.SiLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(216, 5)), (16, 3, 15, 15)


def _lstm(torch: Any) -> tuple[Any, tuple[int, ...]]:
    class Network(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.LSTM(9, 17, num_layers=2, batch_first=True, dropout=0.1, bidirectional=True)
            self.head = torch.nn.Linear(34, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.layers(x)[0][:, -1])

    return Network(), (16, 13, 9)


def _transformer(torch: Any) -> tuple[Any, tuple[int, ...]]:
    class Network(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            layer = torch.nn.TransformerEncoderLayer(32, 4, 65, dropout=0.1, batch_first=True, norm_first=True)
            self.embedding = torch.nn.Embedding(101, 32)
            self.layers = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = torch.nn.Linear(32, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.layers(self.embedding((x * 50 + 50).long().clamp(0, 100))).mean(1))

    return Network(), (8, 17)


def fit_network(make: Callable[[Any], Any], optimizer: str, low: bool, emit: Emit) -> None:
    """Fit a network with torch's `optimizer`, in bfloat16 where `low`; the weights after each step are a case."""
    import torch

    from tests.cross_cpu.recorder import Recorder

    torch.manual_seed(42)
    recorder = Recorder()
    with recorder:
        model, shape = make(torch)
    emit("initial weights", recorder.take(), digest(list(model.state_dict().values())))
    extra = {"momentum": 0.9} if optimizer == "SGD" else {}
    steps = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, **extra)
    for step in range(RECORDED + FURTHER):
        inputs = torch.from_numpy(uniform(int(np.prod(shape)), step + 1)).float().reshape(shape)
        labels = torch.arange(shape[0]) * (step + 3) % 5
        with recorder if step < RECORDED else contextlib.nullcontext():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
                loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            steps.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            steps.step()
        emit(f"step {step}", recorder.take(), digest(loss, list(model.state_dict().values())))


def evaluate_network(make: Callable[[Any], Any], emit: Emit) -> None:
    """What a network gives in evaluation, with gradients and without: torch takes other operators for some layers."""
    import torch

    from tests.cross_cpu.recorder import Recorder

    torch.manual_seed(42)
    model, shape = make(torch)
    model.eval()
    inputs = torch.from_numpy(uniform(int(np.prod(shape)), 1)).float().reshape(shape)
    for name, mode in (("gradients", torch.enable_grad), ("none", torch.no_grad), ("inference", torch.inference_mode)):
        with Recorder() as recorder, mode():
            result = model(inputs)
        emit(name, recorder.take(), digest(result.detach()))


def _rows() -> tuple[Any, dict[str, Any]]:
    features = uniform(ROWS * 6, 3).reshape(ROWS, 6)
    target = features[:, 0] * 4 + heavy(ROWS, 4)
    return features, {"regression": target, "classification": (target > 0).astype(np.float64)}


def _estimator(library: str, kind: str, emit: Emit) -> None:
    from harness.strict.estimators import create_estimator

    features, targets = _rows()
    config: dict[str, Any] = {
        "lightgbm": {"n_estimators": 10, "bagging_fraction": 0.7, "bagging_freq": 1},
        "xgboost": {"n_estimators": 10, "subsample": 0.7},
        "torch": {"hidden": [16, 8], "epochs": 2, "dropout": 0.1, "batch_size": 64},
        "ridge": {},
    }[library]
    estimator = create_estimator(library, config, 42, kind, threads=_threads(), strict=True)
    calls: list[Any] = []
    if library == "torch":
        from tests.cross_cpu.recorder import Recorder

        with Recorder() as recorder:
            estimator.fit(features, targets[kind])
        calls = recorder.take()
    else:
        estimator.fit(features, targets[kind])
    emit("fit", calls, digest(estimator.canonical(), estimator.predict(features), estimator.feature_importances()))


def _threads() -> int:
    return int(os.environ.get("REPRO_THREADS", "1"))


def lightgbm_fit(emit: Emit) -> None:
    """Trees by three objectives, on categories and missing values."""
    import lightgbm

    features, targets = _rows()
    features = np.column_stack([features, (features[:, 1] * 4).astype(int) + 4])
    features[::7, 2] = np.nan
    common = {"deterministic": True, "force_col_wise": True, "num_threads": _threads(), "verbosity": -1, "seed": 1}
    for objective, kind in (("regression", "regression"), ("binary", "classification"), ("huber", "regression")):
        for boosting in ("gbdt", "dart"):
            data = lightgbm.Dataset(features, targets[kind], categorical_feature=[6], params={"verbosity": -1})
            model = lightgbm.train({**common, "objective": objective, "boosting": boosting}, data, 12)
            text = model.model_to_string().partition("\nparameters:")[0]
            emit(f"{objective} {boosting}", [], digest(text, model.predict(features)))


def xgboost_fit(emit: Emit) -> None:
    """Trees by three objectives and each method."""
    import xgboost

    features, targets = _rows()
    for objective, kind in (("squarederror", "regression"), ("logistic", "classification"), ("gamma", "positive")):
        label = np.abs(targets["regression"]) + 0.5 if kind == "positive" else targets[kind]
        prefix = "binary" if objective == "logistic" else "reg"
        for method in ("hist", "approx", "exact"):
            settings = {"objective": f"{prefix}:{objective}", "tree_method": method, "subsample": 0.7, "seed": 1}
            data = xgboost.DMatrix(features, label, nthread=_threads())
            model = xgboost.train({**settings, "nthread": _threads(), "device": "cpu", "verbosity": 0}, data, 12)
            emit(f"{objective} {method}", [], digest(bytes(model.save_raw("ubj")), model.predict(data)))


def _sklearn(emit: Emit) -> None:
    from sklearn import cluster, decomposition, ensemble, linear_model

    features, targets = _rows()
    models: dict[str, tuple[Any, str]] = {
        "Ridge": (linear_model.Ridge(), "regression"),
        "Lasso": (linear_model.Lasso(), "regression"),
        "LogisticRegression": (linear_model.LogisticRegression(), "classification"),
        "RandomForest": (ensemble.RandomForestRegressor(n_estimators=5, random_state=1), "regression"),
    }
    for name, (model, kind) in models.items():
        emit(name, [], digest(model.fit(features, targets[kind]).predict(features)))
    emit("PCA", [], digest(decomposition.PCA(3).fit_transform(features)))
    emit("KMeans", [], digest(cluster.KMeans(4, n_init=1, random_state=1).fit(features).cluster_centers_))


def _gradient_boosting(emit: Emit) -> None:
    """A group of its own: under emulation NumPy's `argsort` ends the process."""
    from sklearn import ensemble

    features, targets = _rows()
    model = ensemble.HistGradientBoostingClassifier(max_iter=5)
    emit("HistGradientBoosting", [], digest(model.fit(features, targets["classification"]).predict_proba(features)))


def _example(name: str, arguments: list[str], emit: Emit) -> None:
    """An example as it stands, but on `EXAMPLE_ROWS` of its data."""
    import torch
    from sklearn import datasets

    from tests.cross_cpu.recorder import Recorder

    torch.manual_seed(42)
    np.random.seed(42)
    recorder = Recorder()
    before, load_digits = sys.argv, datasets.load_digits
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        sys.argv = [name, *arguments]
        datasets.load_digits = lambda **keywords: tuple(part[:EXAMPLE_ROWS] for part in load_digits(**keywords))
        try:
            with recorder:
                found = runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        finally:
            sys.argv, datasets.load_digits = before, load_digits
        # Lightning's example leaves its models as checkpoints alone.
        models = (
            [found["model"].state_dict()]
            if "model" in found
            else list(map(_weights, sorted(Path().rglob("last.ckpt"))))
        )
    emit("fit", recorder.take(), digest(*[list(weights.values()) for weights in models]))


def _weights(checkpoint: Path) -> Any:
    import torch

    return torch.load(checkpoint, weights_only=True)["state_dict"]


def _lightning(emit: Emit) -> None:
    import torch

    from tests.cross_cpu.lightning_fit import fit
    from tests.cross_cpu.recorder import Recorder

    for name in ("cnn", "vit"):
        torch.manual_seed(42)
        recorder = Recorder()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr), recorder:
            weights = fit(name, Path(folder))
        emit(name, recorder.take(), digest(weights))
