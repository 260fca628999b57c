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
from harness.strict.models.rows import Rows, hold_out
from harness.strict.models.scaling import Scaling
from harness.strict.models.segments import Segments, facts_of
from harness.strict.models.stopping import NAMES as STOPPING_NAMES
from harness.strict.models.stopping import Watch, take_stopping

_ALIASES = {
    **{name: name for name in ("activation", "batch_size", "dropout", "epochs", "hidden", "learning_rate")},
    "weight_decay": "weight_decay",
    **{name: name for name in ("early_stopping_rounds", *STOPPING_NAMES)},
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
    segmented = False
    unsigned = frozenset({"seed", "random_state", "n_jobs", "num_threads"})

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        parameters = Parameters("torch", config, _ALIASES)
        parameters.drop(("threads",), "threads_per_fit decides")
        parameters.drop(("seed",), "the seed is the run's")
        self._stopping = take_stopping(parameters, "early_stopping_rounds", settings.kind)
        self._hyperparameters = _checked(parameters)
        self._facts = facts_of("torch", config, self.unsigned)
        self._settings = settings
        self.overrides = tuple(parameters.overrides)
        self._scaling: Scaling
        self._target: tuple[float, float] = (0.0, 1.0)
        self._network: Any = None

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row, but for those held out where early stopping is asked for (see `Estimator.fit`).

        Raises:
            UsageError: the rows cannot be learnt from.
            IncomparableError: the checkpoint is of another fit.
            IntegrityError: the newest checkpoint is damaged.
        """
        import torch

        check_rows(features, target, sample_weight, self._settings.kind)
        self._configure()
        rows = Rows(np.asarray(features), np.asarray(target), sample_weight)
        facts = {**self._facts, "version": torch.__version__, "threads": torch.get_num_threads()}
        segments = Segments(self._settings, self._hyperparameters.epochs, facts, rows)
        trained, held_out = rows, None
        if self._stopping is not None:
            trained, held_out = hold_out(rows, self._stopping.fraction, self._settings.timeline)
            check_rows(*trained, self._settings.kind)
        self._scaling = Scaling.of(trained.features)
        if self._settings.kind is TargetKind.REGRESSION:
            self._target = (float(trained.target.mean()), float(trained.target.std()) or 1.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._settings.seed)
            self._network = _network(features.shape[1], self._hyperparameters)
            self._train(trained, held_out, segments)
        self._network.eval()
        return self

    def predict(self, features: Floats) -> Floats:
        """The value, or the probability of class 1; the network computes in float32."""
        check_features(features, len(self._scaling.center))
        self._configure()
        return self._predicted(features)

    def _predicted(self, features: Floats) -> Floats:
        import torch

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

    def _train(self, rows: Rows, held_out: Rows | None, segments: Segments) -> None:
        """Train for all epochs that are left, saving after each segment; the best epoch's weights stay."""
        import torch

        training = _Training(self._network, self._hyperparameters, self._settings.seed)
        done, state = segments.resume()
        watch = None
        if self._stopping is not None and held_out is not None:
            watch = Watch(self._stopping, held_out.target, held_out.weight, state and state["watch"])
        if state is not None:
            training.restore(state["training"])
        weights = torch.ones(1).expand(len(rows.target))
        if rows.weight is not None:
            weights = torch.from_numpy(np.asarray(rows.weight / rows.weight.mean(), dtype=np.float32))
        inputs, labels = self._inputs(rows.features), self._labels(rows.target)
        for _, first, end in segments.spans(done):
            if watch is not None and watch.stops:
                break
            for epoch in range(first, end):
                training.epoch(inputs, labels, weights, self._loss)
                if watch is not None and held_out is not None:
                    self._network.eval()
                    if watch.see(epoch + 1, self._predicted(held_out.features)):
                        training.keep()
                    self._network.train()
                    if watch.stops:
                        break
            segments.save(end, lambda: {"training": training.state()}, watch)
        if watch is not None and watch.best():
            training.take_kept()

    def _labels(self, target: Floats) -> Any:
        import torch

        return torch.from_numpy(((target - self._target[0]) / self._target[1]).astype(np.float32))

    def _loss(self, scores: Any, labels: Any) -> Any:
        """The loss of each row."""
        from torch.nn import functional

        classification = self._settings.kind is TargetKind.CLASSIFICATION
        loss_of = functional.binary_cross_entropy_with_logits if classification else functional.mse_loss
        return loss_of(scores, labels, reduction="none")


class _Training:
    """A network in training: all that decides what its next epoch does, and the best weights so far."""

    def __init__(self, network: Any, hyperparameters: Hyperparameters, seed: int) -> None:
        import torch

        self._network = network
        self._batch_size = hyperparameters.batch_size
        self._adam = _Adam(list(network.parameters()), hyperparameters)
        self._order = torch.Generator().manual_seed(seed)
        self._kept: dict[str, Any] | None = None

    def epoch(self, inputs: Any, labels: Any, weights: Any, loss_of: Callable[[Any, Any], Any]) -> None:
        """Visit every row once; `inputs` is (rows, columns), `labels` and `weights` are (rows,), all float32."""
        import torch

        shuffled = torch.randperm(len(labels), generator=self._order)
        for rows in torch.split(shuffled, self._batch_size):
            loss = loss_of(self._network(inputs[rows]).squeeze(1), labels[rows])
            (loss * weights[rows]).mean().backward()
            self._adam.step()

    def keep(self) -> None:
        """Remember the weights as they are now."""
        self._kept = {name: value.clone() for name, value in self._network.state_dict().items()}

    def take_kept(self) -> None:
        """Go back to the weights that were kept last."""
        if self._kept is not None:
            self._network.load_state_dict(self._kept)

    def state(self) -> dict[str, Any]:
        """What `restore` needs: weights, Adam's means and steps, the order of rows, and dropout's generator."""
        import torch

        return {
            "network": dict(self._network.state_dict()),
            "adam": self._adam.state(),
            "order": self._order.get_state(),
            "generator": torch.get_rng_state(),
            "kept": self._kept,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        import torch

        self._network.load_state_dict(state["network"])
        self._adam.restore(state["adam"])
        self._order.set_state(state["order"])
        torch.set_rng_state(state["generator"])
        self._kept = state["kept"]


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


class _Adam:
    """Adam with torch's default betas and torch's own arithmetic."""

    def __init__(self, parameters: list[Any], hyperparameters: Hyperparameters) -> None:
        import torch

        self._parameters = parameters
        rates: Any = {"lr": hyperparameters.learning_rate, "weight_decay": hyperparameters.weight_decay}
        self._rates = rates
        self._means = [torch.zeros_like(parameter) for parameter in parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in parameters]
        self._steps = [torch.zeros(()) for _ in parameters]

    def step(self) -> None:
        """Take the parameters' gradients, and clear them."""
        import torch
        from torch.optim.adam import adam

        gradients = [parameter.grad for parameter in self._parameters]
        with torch.no_grad():
            adam(
                self._parameters, gradients, self._means, self._squares, [], self._steps,
                foreach=False, amsgrad=False, beta1=0.9, beta2=0.999, eps=1e-8, maximize=False, **self._rates,
            )  # fmt: skip
        for parameter in self._parameters:
            parameter.grad = None

    def state(self) -> list[list[Any]]:
        """What `restore` needs."""
        return [self._means, self._squares, self._steps]

    def restore(self, state: list[list[Any]]) -> None:
        """Go on from what `state` gave."""
        for own, theirs in zip(self.state(), state, strict=True):
            for tensor, value in zip(own, theirs, strict=True):
                tensor.copy_(value)
