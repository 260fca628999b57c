"""A multilayer perceptron in torch, float32, on the CPU: the same weights for the same seed and number of threads.

Adam is torch's own, through its functional form: the optimizer classes import torch's compiler, which takes seconds.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from harness.errors import UsageError
from harness.record.canonical import canonical_json
from harness.record.files import write_atomically
from harness.spec.columns import TargetKind
from harness.strict.models.interface import Floats, Settings, check_features, check_rows, probabilities
from harness.strict.models.parameters import Parameters, integer, number
from harness.strict.models.scaling import Scaling

_ALIASES = {
    **{name: name for name in ("activation", "batch_size", "dropout", "epochs", "hidden", "learning_rate")},
    "weight_decay": "weight_decay",
    "n_jobs": "threads",
    "num_threads": "threads",
    "random_state": "seed",
    "seed": "seed",
}
_ACTIVATIONS = {"gelu": "GELU", "relu": "ReLU", "silu": "SiLU", "tanh": "Tanh"}


class Hyperparameters(msgspec.Struct, frozen=True):
    """`hidden` are the widths of the hidden layers; every epoch visits every row once, in batches of `batch_size`."""

    hidden: tuple[int, ...] = (32, 16)
    activation: str = "relu"
    dropout: float = 0.0
    epochs: int = 5
    batch_size: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 0.0


class TorchMLP:
    """Trained by Adam on standardised columns; its hyperparameters are the fields of `Hyperparameters`."""

    imports = ("torch",)
    thread_invariant = False
    unsigned = frozenset({"seed", "random_state", "n_jobs", "num_threads"})

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        parameters = Parameters("torch", config, _ALIASES)
        parameters.drop(("threads",), "threads_per_fit decides")
        parameters.drop(("seed",), "the seed is the run's")
        self._hyperparameters = _checked(parameters)
        self._settings = settings
        self.overrides = tuple(parameters.overrides)
        self._scaling: Scaling
        self._target: tuple[float, float] = (0.0, 1.0)
        self._network: Any = None

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row (see `Estimator.fit`).

        Raises:
            UsageError: the rows cannot be learnt from.
        """
        import torch

        check_rows(features, target, sample_weight, self._settings.kind)
        self._configure()
        self._scaling = Scaling.of(features)
        if self._settings.kind is TargetKind.REGRESSION:
            self._target = (float(target.mean()), float(target.std()) or 1.0)
        inputs = self._inputs(features)
        labels = torch.from_numpy(((target - self._target[0]) / self._target[1]).astype(np.float32))
        weights = torch.ones(1).expand(len(labels))
        if sample_weight is not None:
            weights = torch.from_numpy(np.asarray(sample_weight / sample_weight.mean(), dtype=np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._settings.seed)
            self._network = _network(features.shape[1], self._hyperparameters)
            self._train(inputs, labels, weights)
        self._network.eval()
        return self

    def predict(self, features: Floats) -> Floats:
        """The value, or the probability of class 1; the network computes in float32."""
        import torch

        check_features(features, len(self._scaling.center))
        self._configure()
        with torch.inference_mode():
            score = self._network(self._inputs(features)).squeeze(1)
            if self._settings.kind is TargetKind.CLASSIFICATION:
                score = torch.sigmoid(score)
        center, scale = self._target
        return np.asarray(score.numpy(), dtype=np.float64) * scale + center

    def predict_proba(self, features: Floats) -> Floats:
        """(rows, 2)."""
        return probabilities(self._settings.kind, self.predict(features))

    def feature_importances(self) -> Floats:
        """The product of the layers' absolute weights: how strongly each column is connected to the output."""
        layers = [value.numpy() for name, value in self._state() if name.endswith("weight")]
        connection = np.ones((1, 1))
        for layer in reversed(layers):
            connection = (connection[0][:, None] * np.abs(layer.astype(np.float64))).sum(axis=0, keepdims=True)
        return np.asarray(connection[0], dtype=np.float64)

    def canonical(self) -> bytes:
        """Every tensor's name, type, shape and raw bytes, after the scalings and the layers they belong to."""
        state = self._state()
        header = {
            "activation": self._hyperparameters.activation,
            "center": self._scaling.center.tolist(),
            "scale": self._scaling.scale.tolist(),
            "target": self._target,
            "tensors": [[name, value.numpy().dtype.str, list(value.shape)] for name, value in state],
        }
        return canonical_json(header) + b"\n" + b"".join(value.numpy().tobytes() for _, value in state)

    def save(self, folder: Path, name: str = "model") -> Path:
        """A state dictionary for `torch.load`, with the scalings, `name.pt`."""
        import torch

        stream = io.BytesIO()
        content = {
            "hyperparameters": msgspec.to_builtins(self._hyperparameters),
            "center": torch.from_numpy(self._scaling.center.copy()),
            "scale": torch.from_numpy(self._scaling.scale.copy()),
            "target": self._target,
            "state": dict(self._state()),
        }
        torch.save(content, stream)
        path = folder / f"{name}.pt"
        write_atomically(path, stream.getvalue())
        return path

    def _configure(self) -> None:
        import torch

        if self._settings.threads is not None:
            torch.set_num_threads(self._settings.threads)
        if self._settings.strict:
            # As use_deterministic_algorithms(True), which imports torch's compiler to tell it too: over a second.
            torch.set_deterministic_debug_mode("error")
            # It only finds reads of memory that nothing wrote, and fills every new tensor for that.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def _inputs(self, features: Floats) -> Any:
        import torch

        return torch.from_numpy(self._scaling.apply(features).astype(np.float32))

    def _state(self) -> list[tuple[str, Any]]:
        return [(name, value.detach().contiguous()) for name, value in sorted(self._network.state_dict().items())]

    def _train(self, inputs: Any, labels: Any, weights: Any) -> None:
        import torch

        step = _adam(list(self._network.parameters()), self._hyperparameters)
        classification = self._settings.kind is TargetKind.CLASSIFICATION
        functional = torch.nn.functional
        loss_of = functional.binary_cross_entropy_with_logits if classification else functional.mse_loss
        order = torch.Generator().manual_seed(self._settings.seed)
        for _ in range(self._hyperparameters.epochs):
            shuffled = torch.randperm(len(labels), generator=order)
            for rows in torch.split(shuffled, self._hyperparameters.batch_size):
                loss = loss_of(self._network(inputs[rows]).squeeze(1), labels[rows], reduction="none")
                (loss * weights[rows]).mean().backward()
                step()


def _checked(parameters: Parameters) -> Hyperparameters:
    given = parameters.values()
    hidden = given.get("hidden", Hyperparameters.__struct_defaults__[0])
    if not isinstance(hidden, list | tuple):
        raise UsageError(f"torch: hidden is {hidden!r}", hint="It must be a list of layer widths, such as [32, 16].")
    made = Hyperparameters(**{**given, "hidden": tuple(integer("torch", "hidden", width, least=1) for width in hidden)})
    if made.activation not in _ACTIVATIONS:
        raise UsageError(f"torch: activation is {made.activation!r}", hint=f"There is {', '.join(_ACTIVATIONS)}.")
    number("torch", "dropout", made.dropout, least=0.0)
    if made.dropout >= 1:
        raise UsageError(f"torch: dropout is {made.dropout!r}", hint="It must be below 1.")
    integer("torch", "epochs", made.epochs, least=1)
    integer("torch", "batch_size", made.batch_size, least=1)
    number("torch", "learning_rate", made.learning_rate, above=0.0)
    number("torch", "weight_decay", made.weight_decay, least=0.0)
    return made


def _network(columns: int, hyperparameters: Hyperparameters) -> Any:
    from torch import nn

    layers: list[Any] = []
    for width in hyperparameters.hidden:
        layers += [nn.Linear(columns, width), getattr(nn, _ACTIVATIONS[hyperparameters.activation])()]
        if hyperparameters.dropout:
            layers.append(nn.Dropout(hyperparameters.dropout))
        columns = width
    return nn.Sequential(*layers, nn.Linear(columns, 1))


def _adam(parameters: list[Any], hyperparameters: Hyperparameters) -> Callable[[], None]:
    """One step of Adam with torch's default betas, which takes the gradients and clears them."""
    import torch
    from torch.optim.adam import adam

    means = [torch.zeros_like(parameter) for parameter in parameters]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    steps = [torch.zeros(()) for _ in parameters]

    def step() -> None:
        gradients = [parameter.grad for parameter in parameters]
        with torch.no_grad():
            adam(
                parameters, gradients, means, squares, [], steps,
                foreach=False, amsgrad=False, beta1=0.9, beta2=0.999, eps=1e-8, maximize=False,
                lr=hyperparameters.learning_rate, weight_decay=hyperparameters.weight_decay,
            )  # fmt: skip
        for parameter in parameters:
            parameter.grad = None

    return step
