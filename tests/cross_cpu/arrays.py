"""NumPy: every ufunc and the linear algebra, over dtypes, odd sizes and strides."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tests.cross_cpu.digests import digest
from tests.cross_cpu.groups import Call, Emit, Group
from tests.cross_cpu.numbers import heavy, uniform

LENGTHS = (1, 17, 1001, 9001)
REDUCTIONS = ("sum", "mean", "std", "var", "prod", "cumsum", "cumprod", "median", "ptp", "nansum")
# NumPy's sorts for AVX2 gather through masks; on some data an emulator ends such a process.
SORTS = ("sort", "argsort")
DTYPES = ("float16", "float32", "float64", "complex128", "int32")


def groups() -> Iterator[Group]:
    """One group for each ufunc, reduction and decomposition."""
    for name in sorted(vars(np)):
        function = vars(np)[name]
        if isinstance(function, np.ufunc) and function.signature is None:
            yield Group(name, partial(_ufunc, name, function))
    for name in (*REDUCTIONS, *SORTS):
        yield Group(name, partial(_reduction, name, getattr(np, name)))
    for name, function in _algebra().items():
        yield Group(name, partial(_decomposition, name, function))


def _note(emit: Emit, name: str, case: str, function: Callable[..., Any], *inputs: Any) -> None:
    try:
        with np.errstate(all="ignore"):
            outcome = digest(function(*inputs))
    except (TypeError, ValueError, np.linalg.LinAlgError) as error:
        outcome = type(error).__name__
    large = any(getattr(value, "size", 0) > 32768 for value in inputs)
    emit(case, [Call(f"numpy::{name}", digest(case, *inputs), outcome, large)], outcome)


def _ufunc(name: str, function: Any, emit: Emit) -> None:
    for dtype in DTYPES:
        for length in LENGTHS:
            values = [(uniform(2 * length, stream) * 8).astype(dtype) for stream in range(function.nin)]
            if name in ("left_shift", "right_shift", "power") and dtype == "int32":
                values[-1] = np.abs(values[-1])
            for layout, inputs in (("whole", [v[:length] for v in values]), ("strided", [v[::2] for v in values])):
                _note(emit, name, f"{dtype} {length} {layout}", function, *inputs)


def _reduction(name: str, function: Any, emit: Emit) -> None:
    for dtype in ("float32", "float64", "complex64"):
        for shape in ((1001,), (9001,), (37, 129), (129, 37), (5, 11, 331)):
            array = heavy(int(np.prod(shape)), 7).reshape(shape).astype(dtype)
            for layout, given in (("whole", array), ("transposed", array.T), ("strided", array[..., ::2])):
                for axis in (None, 0, -1):
                    case = f"{dtype} {shape} {layout} axis {axis}"
                    _note(emit, name, case, partial(function, axis=axis), given)


def _algebra() -> dict[str, Callable[..., Any]]:
    return {
        "matmul": lambda a: a @ a.T.copy(), "matmul_transposed": lambda a: a.T @ a, "gemv": lambda a: a @ a[0],
        "dot": lambda a: np.dot(a.ravel(), a.ravel()[::-1]), "einsum": lambda a: np.einsum("ij,kj->ik", a, a),
        "svd": np.linalg.svd, "qr": np.linalg.qr, "lstsq": lambda a: np.linalg.lstsq(a, a[:, 0], rcond=None),
        "pinv": np.linalg.pinv, "norm": np.linalg.norm, "matrix_rank": np.linalg.matrix_rank,
        "solve": lambda a: np.linalg.solve(a @ a.T + np.eye(len(a), dtype=a.dtype), a),
        "inv": lambda a: np.linalg.inv(a @ a.T + np.eye(len(a), dtype=a.dtype)),
        "det": lambda a: np.linalg.det(a @ a.T), "cholesky": lambda a: np.linalg.cholesky(a @ a.T + 9 * np.eye(len(a))),
        "eigh": lambda a: np.linalg.eigh(a @ a.T), "eig": lambda a: np.linalg.eig(a[:, : len(a)]),
        "fft": np.fft.fft, "rfft2": np.fft.rfft2, "convolve": lambda a: np.convolve(a.ravel(), a[0]),
        "quantile": lambda a: np.quantile(a, [0.05, 0.5, 0.95]), "histogram": lambda a: np.histogram(a, 17),
        "interp": lambda a: np.interp(a.ravel(), np.sort(a[0]), a[0]), "corrcoef": np.corrcoef,
        "polyfit": lambda a: np.polyfit(a[0], a[1], 3),
        "generator": lambda a: np.random.default_rng(3).normal(size=999),
        "gamma": lambda a: np.random.default_rng(3).gamma(0.7, size=999),
    }  # fmt: skip


def _decomposition(name: str, function: Any, emit: Emit) -> None:
    for dtype in ("float32", "float64"):
        for rows, columns in ((3, 5), (17, 19), (65, 131), (128, 128), (37, 2011)):
            if columns > 1000 and name in ("svd", "eig", "pinv", "lstsq", "qr", "solve", "matmul_transposed", "fft"):
                continue
            array = uniform(rows * columns, 11).reshape(rows, columns).astype(dtype)
            _note(emit, name, f"{dtype} {rows} by {columns}", function, array)
            _note(emit, name, f"{dtype} {rows} by {columns} in columns", function, np.asfortranarray(array))
