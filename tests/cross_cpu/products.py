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
    """Two groups for each dtype."""
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).partition(".")[2]
        yield Group(name, partial(run_cases, partial(_cases, dtype)))
        yield Group(f"convolutions/{name}", partial(run_cases, partial(_convolutions, dtype)))


def _cases(dtype: torch.dtype) -> Iterator[tuple[str, Any, list[Any]]]:
    make = partial(tensor, dtype=dtype)
    for m, k, n in SHAPES:
        a, b = make(1, m, k), make(2, k, n)
        yield f"mm {m} {k} {n}", torch.mm, [a, b]
        yield f"linear {m} {k} {n}", functional.linear, [a, make(2, n, k), make(3, n)]
        yield f"bmm {m} {k} {n}", torch.bmm, [make(4, 2, m, k), make(5, 2, k, n)]
        yield f"mv {m} {k}", torch.mv, [a, make(6, k)]
    if dtype is torch.float32:  # longer than one of oneDNN's chains, however the matrices lie
        rows, columns = make(7, 33, 2055), make(8, 2055, 33).t()
        yield "mm in chains", torch.mm, [rows, make(9, 2055, 129)]
        yield "mm in chains, by columns", torch.mm, [columns, make(9, 129, 2055).t()]
        yield "mm in chains, with gaps", torch.mm, [make(7, 33, 2060)[:, 3:-2], make(9, 2055, 140)[:, 5:134]]
    yield "conv2d", partial(functional.conv2d, padding=1), [make(1, 3, 17, 33, 33), make(2, 16, 17, 3, 3), make(3, 16)]
    yield "cholesky", lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(129, dtype=dtype)), [make(1, 129, 131)]
    yield "sum", torch.sum, [make(1, 100_003, big=True)]
    yield "softmax", partial(torch.softmax, dim=1), [make(1, 7, 40_001)]


def _convolutions(dtype: torch.dtype) -> Iterator[tuple[str, Any, list[Any]]]:
    """Those that oneDNN does not take, and their neighbours that it does: torch decides by type, size and batch."""
    make = partial(tensor, dtype=dtype)
    shapes = ((3, 5, 7, 1), (17, 33, 15, 1), (64, 129, 31, 1), (3, 5, 9, 3), (33, 17, 29, 3))
    for batch in (1, 3, 17):
        for channels, filters, size, kernel in shapes:
            x, weight = make(1, batch, channels, size, size), make(2, filters, channels, kernel, kernel)
            name = f"{batch} {channels} {filters} {size} {kernel}"
            yield f"conv2d {name}", functional.conv2d, [x, weight, make(3, filters)]
            yield f"conv1d {name}", functional.conv1d, [x[:, :, 0].clone(), weight[..., 0].clone(), make(3, filters)]
        yield f"conv3d {batch}", functional.conv3d, [make(1, batch, 3, 7, 9, 8), make(2, 5, 3, 3, 3, 3)]
        yield f"transposed {batch}", functional.conv_transpose2d, [make(1, batch, 17, 9, 9), make(2, 17, 5, 3, 3)]
        grouped = partial(functional.conv2d, groups=4, dilation=2)
        yield f"grouped {batch}", grouped, [make(1, batch, 16, 19, 19), make(2, 16, 4, 3, 3)]
