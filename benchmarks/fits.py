"""Run as a program in the image's environment: says how long pieces of a small fit take, one for each line it is sent.

The first line of output names what is ready; each line of input (a number of steps) is answered with its seconds. Only
what numeric libraries bring is imported: the interpreter is the environment's own.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

ROWS, COLUMNS = 20_000, 40


def main(name: str) -> None:
    """Make the fit ready, warm it up, and serve."""
    step = FITS[name]()
    step()
    answer({"ready": name})
    for line in sys.stdin:
        count = int(line)
        began = time.perf_counter()
        for _ in range(count):
            step()
        answer({"seconds": time.perf_counter() - began})


def answer(value: dict[str, object]) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def lightgbm() -> Callable[[], object]:
    """A whole fit of 20 rounds on 20,000 rows of 40 columns, made repeatable where the run is strict."""
    import os

    import lightgbm
    import numpy as np

    generator = np.random.default_rng(1)
    features = generator.standard_normal((ROWS, COLUMNS))
    labels = features[:, 0] * features[:, 1] + generator.standard_normal(ROWS)
    settings: dict[str, Any] = {"verbosity": -1, "objective": "regression", "num_leaves": 63}
    if os.environ["REPRO_MODE"] == "strict":
        settings |= {"deterministic": True, "force_col_wise": True, "num_threads": int(os.environ["REPRO_THREADS"])}
    data = lightgbm.Dataset(features, labels, params={"verbosity": -1}, free_raw_data=False).construct()
    return lambda: lightgbm.train(settings, data, num_boost_round=20)


def xgboost() -> Callable[[], object]:
    """A whole fit of 20 rounds on 20,000 rows of 40 columns."""
    import os

    import numpy as np
    import xgboost

    generator = np.random.default_rng(1)
    features = generator.standard_normal((ROWS, COLUMNS))
    labels = features[:, 0] * features[:, 1] + generator.standard_normal(ROWS)
    settings: dict[str, Any] = {"tree_method": "hist", "device": "cpu", "max_depth": 6, "verbosity": 0}
    if os.environ["REPRO_MODE"] == "strict":
        settings |= {"nthread": int(os.environ["REPRO_THREADS"])}
    data = xgboost.QuantileDMatrix(features, labels)
    return lambda: xgboost.train(settings, data, num_boost_round=20)


def _training(network: Any, inputs: Any, labels: Any) -> Callable[[], object]:
    import torch

    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss_of = torch.nn.functional.cross_entropy

    def step() -> None:
        optimizer.zero_grad()
        loss_of(network(inputs), labels).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def mlp() -> Callable[[], object]:
    """One step of AdamW: 512 rows of 128 columns through three layers of 256."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    layers = [nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(256, 10))
    return _training(network, torch.randn(512, 128), torch.randint(10, (512,)))


def cnn() -> Callable[[], object]:
    """One step of AdamW: 64 images of 3 x 32 x 32 through three convolutions."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    blocks: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 64)):
        blocks += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(1024, 10))
    return _training(network, torch.randn(64, 3, 32, 32), torch.randint(10, (64,)))


def transformer() -> Callable[[], object]:
    """One step of AdamW: 32 sequences of 64 tokens through two encoder layers of width 128 with four heads."""
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(256, 128)
            layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
            self.layers = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(128, 10)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.layers(self.tokens(tokens)).mean(1))

    torch.manual_seed(1)
    return _training(Encoder(), torch.randint(256, (32, 64)), torch.randint(10, (32,)))


FITS: dict[str, Callable[[], Callable[[], object]]] = {
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
}

if __name__ == "__main__":
    main(sys.argv[1])
