"""The probe: small numeric kernels of each library, hashed bit for bit, so that environments are measured, not guessed.

Inputs come from whole-number arithmetic alone, never from a library's own generator or functions, and hold values of
very different size, because sums of well-behaved numbers hide their order. Libraries are imported only when probed.
"""

import array
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.errors import UsageError
from harness.strict.verify import verify_settings

__all__ = ["KNOWN", "probe", "verify_settings"]

Kernels = Iterator[tuple[str, bytes]]

_MASK = 2**64 - 1


def probe(libraries: Sequence[str]) -> dict[str, dict[str, str]]:
    """The digest of each kernel's result, by library and kernel; `python` stands for the C library's functions.

    Raises:
        UsageError: a library has no kernels here.
    """
    unknown = sorted(set(libraries) - set(KNOWN))
    if unknown:
        raise UsageError(f"{unknown[0]} has no probe", hint=f"There is one for {', '.join(KNOWN)}.")
    return {
        name: {kernel: f"sha256:{hashlib.sha256(data).hexdigest()}" for kernel, data in KNOWN[name]()}
        for name in sorted(set(libraries))
    }


def _uniform(count: int, stream: int) -> "array.array[float]":
    """`count` numbers from [0, 1), exact multiples of 2**-53: splitmix64 (https://prng.di.unimi.it/splitmix64.c)."""
    state = stream * 0x632BE59BD9B4E019 & _MASK
    numbers = array.array("d")
    for _ in range(count):
        state = state + 0x9E3779B97F4A7C15 & _MASK
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        numbers.append(((z ^ z >> 31) >> 11) * 2.0**-53)
    return numbers


def _heavy_tailed(count: int, stream: int) -> "array.array[float]":
    """`count` signed numbers with exponents spread over 2**-20 … 2**20; scaling by a power of two is exact."""
    uniform = _uniform(2 * count, stream)
    pairs = zip(uniform[:count], uniform[count:], strict=True)
    return array.array("d", (math.ldexp(2 * a - 1, int(b * 41) - 20) for a, b in pairs))


def _python() -> Kernels:
    moderate = [8 * value - 4 for value in _uniform(2048, 1)]
    positive = [value + 2.0**-60 for value in _uniform(2048, 2)]
    for name in ("exp", "sin", "cos", "tan", "tanh", "atan", "expm1", "erf"):
        function: Callable[[float], float] = getattr(math, name)
        yield name, array.array("d", map(function, moderate)).tobytes()
    for name in ("log", "log1p", "log2", "log10", "sqrt", "gamma", "lgamma"):
        function = getattr(math, name)
        yield name, array.array("d", map(function, positive)).tobytes()
    yield "pow", array.array("d", map(math.pow, positive, moderate)).tobytes()
    yield "hypot", array.array("d", map(math.hypot, positive, moderate)).tobytes()


def _numpy() -> Kernels:
    import numpy as np

    with np.errstate(all="ignore"):
        flat = np.frombuffer(_heavy_tailed(24576, 3), dtype=np.float64)
        uniform = np.frombuffer(_uniform(8192, 4), dtype=np.float64)
        for dtype, bits in ((np.float64, "64"), (np.float32, "32")):
            yield from ((f"{name}{bits}", data) for name, data in _elementwise(np, (uniform * 8 - 4).astype(dtype)))
            yield from ((f"{name}{bits}", data) for name, data in _reductions(np, flat.astype(dtype)))
            yield from ((f"{name}{bits}", data) for name, data in _algebra(np, (uniform - 0.5).astype(dtype)))


def _elementwise(np: Any, x: Any) -> Kernels:
    positive = np.abs(x) + x.dtype.type(2.0**-40)
    for name in ("exp", "expm1", "sin", "cos", "tan", "tanh", "arctan", "cbrt", "sinh", "exp2"):
        yield name, getattr(np, name)(x).tobytes()
    for name in ("log", "log1p", "log2", "log10", "sqrt", "reciprocal"):
        yield name, getattr(np, name)(positive).tobytes()
    yield "power", np.power(positive, x).tobytes()
    yield "arctan2", np.arctan2(x, positive[::-1]).tobytes()


def _reductions(np: Any, x: Any) -> Kernels:
    table = x.reshape(192, 128)
    yield "sum", np.sum(x).tobytes()
    yield "sum_axis0", np.sum(table, axis=0).tobytes()
    yield "mean_axis1", np.mean(table, axis=1).tobytes()
    yield "std", np.std(table, axis=0).tobytes()
    yield "cumsum", np.cumsum(x).tobytes()
    # Ties are where sorting kernels differ: few distinct keys, and the order that argsort gives them.
    yield "argsort", np.argsort((x * x.dtype.type(0.001)).astype(np.int32)).tobytes()
    yield "quantile", np.quantile(x, [0.05, 0.5, 0.95]).tobytes()
    yield "fft", np.fft.rfft(x[:1000]).tobytes()


def _algebra(np: Any, x: Any) -> Kernels:
    a, b = x[: 72 * 96].reshape(72, 96), x[-96 * 80 :].reshape(96, 80)
    square = a @ a.T + np.eye(72, dtype=x.dtype)
    yield "gemm", (a @ b).tobytes()
    yield "gemv", (a @ b[:, 0]).tobytes()
    yield "dot", np.dot(x, x[::-1]).tobytes()
    yield "solve", np.linalg.solve(a[:, :72], b[:72]).tobytes()
    yield "cholesky", np.linalg.cholesky(square).tobytes()
    yield "svd", b"".join(part.tobytes() for part in np.linalg.svd(a, full_matrices=False))
    yield "eigh", b"".join(part.tobytes() for part in np.linalg.eigh(square))
    yield "lstsq", np.linalg.lstsq(b[:, :16], b[:, 16], rcond=None)[0].tobytes()


def _scipy() -> Kernels:
    import numpy as np
    import scipy.linalg
    import scipy.special

    uniform = np.frombuffer(_uniform(4096, 5), dtype=np.float64)
    a = (uniform - 0.5).reshape(64, 64)
    factors: Any = scipy.linalg.lu_factor(a)
    yield "lu", factors[0].tobytes()
    factors = scipy.linalg.qr(a)
    yield "qr", factors[0].tobytes() + factors[1].tobytes()
    eigenvalues: Any = scipy.linalg.eigvals(a)
    yield "eigvals", eigenvalues.tobytes()
    yield "expm", scipy.linalg.expm(a).tobytes()
    for name in ("erf", "gammaln", "ndtr", "ndtri", "expit", "digamma"):
        yield name, getattr(scipy.special, name)(uniform + 2.0**-53).tobytes()


def _regression(rows: int = 600, columns: int = 6) -> tuple[Any, Any]:
    """Features (rows, columns) and a heavy-tailed target (rows,) of both signs with a mean far from 0, float64."""
    import numpy as np

    features = np.frombuffer(_uniform(rows * columns, 6), dtype=np.float64).reshape(rows, columns)
    # Around a mean of 0 an estimated intercept is near 0, however it is estimated.
    return features, features[:, 0] * 4 + np.frombuffer(_heavy_tailed(rows, 7), dtype=np.float64) + 2**18


def _labels(target: Any) -> Any:
    """Whether each of `target` (rows,) is among the upper five eighths: with even shares the log odds would be 0."""
    import numpy as np

    return target > np.sort(target)[target.size * 3 // 8 - 1]


def _threads() -> int:
    return int(os.environ.get("REPRO_THREADS", "1"))


def _lightgbm() -> Kernels:
    import lightgbm

    features, target = _regression()
    common = {
        "deterministic": True, "force_col_wise": True, "num_threads": _threads(), "verbosity": -1, "seed": 1,
        "num_leaves": 15, "min_data_in_leaf": 5,
    }  # fmt: skip
    for objective, labels in (("regression", target), ("binary", _labels(target).astype("f8"))):
        data = lightgbm.Dataset(features, labels, params={"verbosity": -1}, free_raw_data=False)
        model = lightgbm.train({**common, "objective": objective}, data, num_boost_round=5)
        trees = model.model_to_string().partition("\nend of trees")[0].partition("\nTree=0")[2]
        yield f"{objective}.model", trees.encode()
        predictions: Any = model.predict(features, raw_score=True)
        yield f"{objective}.predictions", predictions.tobytes()


def _xgboost() -> Kernels:
    import xgboost

    features, target = _regression()
    common = {"nthread": _threads(), "tree_method": "hist", "device": "cpu", "seed": 1, "verbosity": 0, "max_depth": 4}
    labels = {"reg:squarederror": target, "binary:logistic": _labels(target).astype("f8")}
    for objective, label in labels.items():
        data = xgboost.DMatrix(features, label, nthread=_threads())
        model = xgboost.train({**common, "objective": objective}, data, num_boost_round=5)
        name = objective.partition(":")[2]
        yield f"{name}.leaves", model.predict(data, pred_leaf=True).tobytes()
        yield f"{name}.predictions", model.predict(data, output_margin=True).tobytes()


def _torch() -> Kernels:
    from harness.strict.probe_torch import kernels

    yield from kernels(_uniform, _heavy_tailed)


def _sklearn() -> Kernels:
    from harness.strict.probe_sklearn import kernels

    features, target = _regression()
    yield from kernels(features, target, _labels(target))


KNOWN: dict[str, Callable[[], Kernels]] = {
    "python": _python,
    "numpy": _numpy,
    "scipy": _scipy,
    "sklearn": _sklearn,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "torch": _torch,
}
