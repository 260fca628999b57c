"""What the GPU tests do in processes of their own: `tasks.py DEVICE TASK…` prints each task's answer, as JSON.

An unmodified script: it sets no seed and no switch. The same tasks run on the CPU in the tests of `strict`.
"""

import hashlib
import json
import os
import sys

import torch
from torch import nn


def _digest(model, optimizer):
    """Over every tensor of a model and its optimizer, bit by bit."""
    digest = hashlib.sha256()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"]}
    for name, tensor in _tensors("", state):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(name, value):
    if isinstance(value, torch.Tensor):
        yield name, value.reshape(-1) if value.dim() == 0 else value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _tensors(f"{name}/{key}", inner)


def _fit(device, model, shape, *, autocast=False, steps=12):
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs, labels = torch.randn(96, *shape), torch.randint(0, 10, (96,))
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch_size=32, shuffle=True)
    while steps > 0:
        for batch, target in data:
            steps -= 1
            optimizer.zero_grad()
            with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
                loss = nn.functional.cross_entropy(model(batch.to(device)).float(), target.to(device))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    assert torch.isfinite(loss), loss
    return _digest(model, optimizer)


class Transformer(nn.Module):
    """Two encoder layers and a head over their mean."""

    def __init__(self, width=64):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, inputs):
        """Logits of a batch of sequences."""
        return self.head(self.layers(inputs).mean(1))


def mlp(device):
    """Dense layers and dropout."""
    return _fit(device, nn.Sequential(nn.Linear(40, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)), (40,))


def cnn(device):
    """Strided convolutions and batch normalisation: no pooling, whose backward step refuses on CUDA."""
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 10),
    )  # fmt: skip
    return _fit(device, model, (3, 16, 16))


def transformer(device):
    """Attention, layer normalisation and dropout."""
    return _fit(device, Transformer(), (24, 64))


def amp(device):
    """The same in mixed precision."""
    return _fit(device, Transformer(), (24, 64), autocast=True)


def xgboost(device):
    """Trees from histograms, on a heavy-tailed target, where the order of sums shows."""
    import numpy as np
    import xgboost

    features = np.random.normal(size=(4000, 12)).astype(np.float32)
    target = np.exp(3 * np.random.normal(size=4000)) * features[:, 0]
    settings = {"tree_method": "hist", "device": device, "subsample": 0.7, "max_depth": 6, "seed": 1}
    data = xgboost.DMatrix(features, target)
    booster = xgboost.train(settings, data, num_boost_round=20)
    predictions = booster.predict(data).tobytes()
    return [hashlib.sha256(part).hexdigest() for part in (bytes(booster.save_raw("ubj")), predictions)]


def settings(device):
    """The switches as this process has them, and how far a float32 product is from its float64 one."""
    left, right = torch.randn(2, 512, 512, device=device, dtype=torch.float64)
    exact = left @ right
    error = ((left.float() @ right.float()).double() - exact).abs().max() / exact.abs().max()
    convolved = nn.functional.conv2d(left.reshape(1, 32, 128, 64).float(), right.reshape(256, 32, 32, 1)[:8].float())
    wanted = nn.functional.conv2d(left.reshape(1, 32, 128, 64), right.reshape(256, 32, 32, 1)[:8])
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "fill_uninitialized_memory": torch.utils.deterministic.fill_uninitialized_memory,
        "variables": {
            name: os.environ.get(name) for name in ("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "NCCL_ALGO")
        },
        "matmul_error": error.item(),
        "conv_error": ((convolved.double() - wanted).abs().max() / wanted.abs().max()).item(),
    }


OPERATORS = {
    "torch.nn.AvgPool3d": lambda x: nn.AvgPool3d(1)(x[None, None]).sum().backward(),
    "torch.nn.AdaptiveAvgPool2d": lambda x: nn.AdaptiveAvgPool2d(2)(x[None]).sum().backward(),
    "torch.nn.functional.grid_sample": lambda x: nn.functional.grid_sample(
        x[None], torch.zeros(1, 4, 4, 2, device=x.device), align_corners=False
    ).sum().backward(),
    "torch.histc": lambda x: torch.histc(x.detach()),
    "torch.Tensor.put_": lambda x: x.detach().put_(
        torch.zeros(2, dtype=torch.long, device=x.device), x.detach()[0, 0, :2]
    ),
    "torch.nn.MaxUnpool2d": lambda x: nn.MaxUnpool2d(2)(
        x.detach()[None], torch.zeros(1, *x.shape, dtype=torch.long, device=x.device)
    ),
}  # fmt: skip
"""Operators that the installed torch documents as having no deterministic form on CUDA."""


def operators(device):
    """Which of them raise, by name."""
    refused = {}
    for name, call in OPERATORS.items():
        try:
            call(torch.randn(3, 8, 8, device=device, requires_grad=True))
            refused[name] = None
        except RuntimeError as error:
            refused[name] = str(error).splitlines()[0]
    return refused


def _devices(device):
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if device == "cuda" else ["cpu"]


def states(device):
    """What every device draws first; again after a checkpoint's states are put back; and another device's alone."""
    from harness.strict.random_states import capture_random_states, restore_random_states

    def draw():
        return [torch.rand(4, device=name).tolist() for name in _devices(device)]

    first = draw()
    held = capture_random_states()
    second = draw()
    restore_random_states(held)
    return [first, second, draw()]


TASKS = {
    task.__name__: task for task in (mlp, cnn, transformer, amp, xgboost, settings, operators, states)
}  # fmt: skip


if __name__ == "__main__":
    answers = {name: TASKS[name](sys.argv[1]) for name in sys.argv[2:]}
    sys.stdout.write(json.dumps(answers))
