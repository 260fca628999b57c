"""The short form of the sweep: some dozens of operators and one tiny fit, seconds even on an emulated CPU."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tests.cross_cpu.digests import digest
from tests.cross_cpu.fits import lightgbm_fit, make_mlp, xgboost_fit
from tests.cross_cpu.groups import Emit, Group
from tests.cross_cpu.recorder import Recorder
from tests.cross_cpu.sizes import run_cases, tensor

STEPS = 4
Cases = Iterator[tuple[str, Any, list[Any]]]


def groups() -> Iterator[Group]:
    """Operators, forwards and backwards, and fits of a network and of trees."""
    yield Group("operators", partial(run_cases, _operators))
    yield Group("mlp AdamW", _fit)
    yield Group("lightgbm", lightgbm_fit)
    yield Group("xgboost", xgboost_fit)


def _fit(emit: Emit) -> None:
    from torch.optim.adam import adam  # the optimizer classes import torch's compiler: long under emulation

    torch.manual_seed(42)
    model, shape = make_mlp(torch)
    weights = list(model.parameters())
    state = [[torch.zeros_like(weight) for weight in weights] for _ in range(2)]
    steps = [torch.tensor(0.0) for _ in weights]
    for step in range(STEPS):
        recorder = Recorder()
        with recorder:
            loss = model(tensor(step + 1, *shape, dtype=torch.float32)).square().mean()
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                adam(
                    weights, list(gradients), *state, [], steps, foreach=False, amsgrad=False, beta1=0.9, beta2=0.999,
                    lr=0.01, weight_decay=0.01, eps=1e-8, maximize=False, decoupled_weight_decay=True,
                )  # fmt: skip
        emit(f"step {step}", recorder.take(), digest(loss, weights))


def _operators() -> Cases:
    make = partial(tensor, dtype=torch.float32)
    x = make(1, 17, 129)
    yield "mm", torch.mm, [x, make(2, 129, 31)]
    yield "addmm", torch.addmm, [make(3, 31), x, make(2, 129, 31)]
    yield "bmm", torch.bmm, [make(4, 3, 17, 33), make(5, 3, 33, 9)]
    yield "linear", functional.linear, [x, make(2, 31, 129), make(3, 31)]
    yield "mm strided", lambda a, b: torch.mm(a[::2], b.t()), [x, make(2, 31, 129)]
    for name in ("exp", "sin", "tanh", "sigmoid", "erf", "expm1", "reciprocal"):
        yield name, getattr(torch, name), [x * 4]
    for name in ("sqrt", "rsqrt", "log", "log1p"):
        yield name, getattr(torch, name), [x.abs() + 0.25]
    yield "half power", lambda a: a**0.5, [x.abs() + 0.25]
    for name in ("sum", "mean", "var", "logsumexp"):
        yield name, partial(getattr(torch, name), dim=1), [make(1, 17, 1001, big=True)]
    yield "cumsum", partial(torch.cumsum, dim=0), [make(1, 999, big=True)]
    yield "sort", torch.sort, [x]
    yield "softmax", partial(torch.softmax, dim=1), [x]
    yield "log_softmax", partial(torch.log_softmax, dim=1), [x]
    yield "layer_norm", lambda a, w: functional.layer_norm(a, w.shape, w), [x, make(2, 129)]
    yield "gelu", functional.gelu, [x]
    yield "conv2d", partial(functional.conv2d, padding=1), [make(1, 2, 5, 9, 9), make(2, 7, 5, 3, 3), make(3, 7)]
    query = make(6, 1, 2, 19, 16)
    yield "attention", functional.scaled_dot_product_attention, [query, query * 0.5, query * 0.25]
    yield "cross_entropy", lambda a: functional.cross_entropy(a, torch.arange(17)), [x]
    yield "dropout", functional.dropout, [x]
