"""Products, convolutions and sums of moderate size: what is compared on several threads, on an emulated CPU too."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tests.cross_cpu.groups import Group
from tests.cross_cpu.sizes import run_cases, tensor

SHAPES = ((3, 5, 7), (129, 257, 65), (333, 1001, 1), (257, 300, 129), (5, 16_385, 3))
"""Rows, inner dimension, columns: below and above what OpenBLAS gives to several threads."""


def groups() -> Iterator[Group]:
    """One group for each dtype."""
    for dtype in (torch.float32, torch.float64):
        yield Group(str(dtype).partition(".")[2], partial(run_cases, partial(_cases, dtype)))


def _cases(dtype: torch.dtype) -> Iterator[tuple[str, Any, list[Any]]]:
    make = partial(tensor, dtype=dtype)
    for m, k, n in SHAPES:
        a, b = make(1, m, k), make(2, k, n)
        yield f"mm {m} {k} {n}", torch.mm, [a, b]
        yield f"linear {m} {k} {n}", functional.linear, [a, make(2, n, k), make(3, n)]
        yield f"bmm {m} {k} {n}", torch.bmm, [make(4, 2, m, k), make(5, 2, k, n)]
        yield f"mv {m} {k}", torch.mv, [a, make(6, k)]
    yield "conv2d", partial(functional.conv2d, padding=1), [make(1, 3, 17, 33, 33), make(2, 16, 17, 3, 3), make(3, 16)]
    yield "cholesky", lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(129, dtype=dtype)), [make(1, 129, 131)]
    yield "sum", torch.sum, [make(1, 100_003, big=True)]
    yield "softmax", partial(torch.softmax, dim=1), [make(1, 7, 40_001)]
