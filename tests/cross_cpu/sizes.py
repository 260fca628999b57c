"""Operators at awkward and large sizes: inner dimensions up to 70,000, sums above torch's grain size, strides, AMP.

Written by hand for what training stands on, and made from the database for the element-wise operators and reductions.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tests.cross_cpu.digests import digest
from tests.cross_cpu.groups import Emit, Group
from tests.cross_cpu.numbers import heavy, uniform
from tests.cross_cpu.opinfo import pattern
from tests.cross_cpu.recorder import Recorder

LONG = 100_003
WHOLE = (torch.float32, torch.float64)
AMP = (torch.bfloat16, torch.float16)

Case = tuple[str, Callable[..., Any], list[Any]]


def groups() -> Iterator[Group]:
    """One group for each family of operators and dtype, and one for each element-wise operator of the database."""
    for dtype in (*WHOLE, *AMP):
        for family in (_products, _normalisations, _convolutions, _attention, _losses, _sums):
            yield Group(f"{family.__name__[1:]}/{_short(dtype)}", partial(run_cases, partial(family, dtype)))
    for dtype in WHOLE:
        yield Group(f"decompositions/{_short(dtype)}", partial(run_cases, partial(_decompositions, dtype)))
        yield Group(f"optimizers/{_short(dtype)}", partial(run_cases, partial(_optimizers, dtype)))
        yield Group(f"randoms/{_short(dtype)}", partial(run_cases, partial(_randoms, dtype)))
        yield Group(f"distances/{_short(dtype)}", partial(run_cases, partial(_distances, dtype)))
        yield from _database(dtype)


def tensor(stream: int, *shape: int, dtype: torch.dtype, big: bool = False) -> torch.Tensor:
    """Numbers of that shape; with `big` of very different sizes, so that their sum depends on its order."""
    count = int(torch.Size(shape).numel())
    return torch.from_numpy((heavy if big else uniform)(count, stream)).to(dtype).reshape(shape)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).partition(".")[2]


def run_cases(cases: Callable[[], Iterator[Case]], emit: Emit) -> None:
    """Run each case forwards and backwards under a recorder; what it raises is its result."""
    for name, function, inputs in cases():
        torch.manual_seed(42)
        recorder = Recorder()
        leaves = [value.detach().requires_grad_() if _differentiable(value) else value for value in inputs]
        found: list[Any] = []
        try:
            with recorder:
                result = function(*leaves)
                outputs = [part for part in _flat(result) if part.requires_grad]
                found.append(result)
                wanted = [value for value in leaves if _differentiable(value)]
                if outputs and wanted:
                    grads = [pattern(output) for output in outputs]
                    found += torch.autograd.grad(outputs, wanted, grads, allow_unused=True)
            outcome = digest(found)
        except Exception as error:
            outcome = f"{digest(found)} {type(error).__name__}"
        emit(name, recorder.take(), outcome)


def _differentiable(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [part for entry in value for part in _flat(entry)] if isinstance(value, list | tuple) else []


def _products(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for m, k, n in ((1, 1, 1), (3, 5, 7), (17, 31, 13), (64, 64, 64), (129, 257, 65), (1, 1001, 333), (333, 1001, 1)):
        a, b = make(1, m, k), make(2, k, n)
        yield f"mm {m} {k} {n}", torch.mm, [a, b]
        yield f"mm {m} {k} {n} transposed", lambda a, b: torch.mm(a.t(), b.t()), [make(1, k, m), make(2, n, k)]
        yield f"addmm {m} {k} {n}", torch.addmm, [make(3, n), a, b]
        yield f"linear {m} {k} {n}", functional.linear, [a, make(2, n, k), make(3, n)]
        yield f"bmm {m} {k} {n}", torch.bmm, [make(4, 3, m, k), make(5, 3, k, n)]
        yield f"baddbmm {m} {k} {n}", torch.baddbmm, [make(3, 3, m, n), make(4, 3, m, k), make(5, 3, k, n)]
        yield f"mv {m} {k}", torch.mv, [a, make(6, k)]
        yield f"matmul 4d {m} {k} {n}", torch.matmul, [make(4, 2, 3, m, k), make(5, 2, 3, k, n)]
    for k in (2047, 16_385, 70_000):
        yield f"mm inner {k}", torch.mm, [make(1, 3, k), make(2, k, 5)]
        yield f"linear inner {k}", functional.linear, [make(1, 5, k), make(2, 3, k), make(3, 3)]
        yield f"dot {k}", torch.dot, [make(1, k), make(2, k)]
        yield f"bmm inner {k}", torch.bmm, [make(1, 2, 3, k), make(2, 2, k, 2)]
    yield "outer", torch.outer, [make(1, 201), make(2, 203)]
    yield "addr", torch.addr, [make(3, 51, 53), make(1, 51), make(2, 53)]
    yield "addmv", torch.addmv, [make(3, 51), make(1, 51, 53), make(2, 53)]
    yield "einsum", partial(torch.einsum, "bij,bkj->bik"), [make(1, 3, 17, 65), make(2, 3, 19, 65)]
    yield "mm strided", lambda a, b: torch.mm(a[::2], b[:, ::3]), [make(1, 34, 65), make(2, 65, 99)]
    yield "cdist", torch.cdist, [make(1, 31, 65), make(2, 37, 65)]


def _normalisations(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for rows, columns in ((3, 5), (17, 129), (65, 1001), (7, 40_001)):
        x = make(1, rows, columns)
        yield f"softmax {rows} {columns}", lambda x: torch.softmax(x, 1), [x]
        yield f"softmax 0 {rows} {columns}", lambda x: torch.softmax(x, 0), [x]
        yield f"log_softmax {rows} {columns}", lambda x: torch.log_softmax(x, 1), [x]
        yield f"logsumexp {rows} {columns}", lambda x: torch.logsumexp(x, 1), [x]
        yield f"layer_norm {rows} {columns}", _layer_norm, [x, make(2, columns), make(3, columns)]
        yield f"rms_norm {rows} {columns}", lambda x, w: functional.rms_norm(x, w.shape, w), [x, make(2, columns)]
        yield f"normalize {rows} {columns}", functional.normalize, [x]
    for shape in ((4, 6, 5, 7), (3, 16, 33, 31)):
        x, weight, bias = make(1, *shape), make(2, shape[1]), make(3, shape[1])
        yield f"batch_norm {shape}", lambda x, w, b: functional.batch_norm(x, None, None, w, b, True), [x, weight, bias]
        yield f"batch_norm eval {shape}", _batch_norm_eval, [x, weight, bias]
        yield f"group_norm {shape}", lambda x, w, b: functional.group_norm(x, 2, w, b), [x, weight, bias]
        yield f"instance_norm {shape}", functional.instance_norm, [x]
        yield f"batch_norm last {shape}", _batch_norm_last, [x, weight, bias]


def _layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    return functional.layer_norm(x, weight.shape, weight, bias)


def _batch_norm_eval(x: Any, weight: Any, bias: Any) -> Any:
    return functional.batch_norm(x, bias.detach(), weight.detach().square() + 0.5, weight, bias)


def _batch_norm_last(x: Any, weight: Any, bias: Any) -> Any:
    return functional.batch_norm(x.to(memory_format=torch.channels_last), None, None, weight, bias, True)


def _convolutions(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for channels, filters, size, kernel in ((1, 3, 7, 3), (8, 16, 15, 3), (17, 5, 33, 5), (64, 64, 14, 1)):
        x, weight, bias = make(1, 3, channels, size, size), make(2, filters, channels, kernel, kernel), make(3, filters)
        name = f"{channels} {filters} {size} {kernel}"
        yield f"conv2d {name}", partial(functional.conv2d, padding=1), [x, weight, bias]
        yield f"conv2d stride {name}", partial(functional.conv2d, stride=2), [x, weight, bias]
        yield f"conv2d last {name}", _conv_last, [x, weight, bias]
        yield f"conv1d {name}", functional.conv1d, [x[:, :, 0].clone(), weight[..., 0].clone(), bias]
        yield f"conv_transpose2d {name}", functional.conv_transpose2d, [x, weight.transpose(0, 1).clone(), bias]
    yield "conv2d grouped", partial(functional.conv2d, groups=4), [make(1, 2, 16, 9, 9), make(2, 16, 4, 3, 3)]
    yield "conv2d dilated", partial(functional.conv2d, dilation=2), [make(1, 2, 16, 19, 19), make(2, 16, 16, 3, 3)]
    yield "conv3d", functional.conv3d, [make(1, 1, 3, 7, 9, 8), make(2, 5, 3, 3, 3, 3)]
    x = make(4, 3, 17, 41, 43)
    yield "max_pool2d", partial(functional.max_pool2d, kernel_size=2), [x]
    yield "avg_pool2d", partial(functional.avg_pool2d, kernel_size=3), [x]
    yield "adaptive_avg_pool2d", partial(functional.adaptive_avg_pool2d, output_size=(3, 5)), [x]
    yield "pad", partial(functional.pad, pad=(1, 2, 3, 4)), [x]


def _conv_last(x: Any, weight: Any, bias: Any) -> Any:
    return functional.conv2d(x.to(memory_format=torch.channels_last), weight, bias)


def _attention(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for batch, heads, length, width in ((1, 1, 3, 8), (2, 4, 65, 32), (1, 2, 301, 24), (2, 3, 128, 64)):
        inputs = [make(stream, batch, heads, length, width) for stream in (1, 2, 3)]
        name = f"{batch} {heads} {length} {width}"
        attention = functional.scaled_dot_product_attention
        yield f"attention {name}", attention, inputs
        yield f"attention causal {name}", partial(attention, is_causal=True), inputs
        mask = make(4, length, length) > 0
        mask[:, 0] = True
        yield f"attention masked {name}", partial(attention, attn_mask=mask), inputs
        yield f"attention dropout {name}", partial(attention, dropout_p=0.25), inputs
    indices = torch.arange(501) * 7 % 97
    yield "embedding", lambda w: functional.embedding(indices, w), [make(1, 97, 33)]
    yield "embedding_bag", lambda w: functional.embedding_bag(indices.reshape(-1, 3), w), [make(1, 97, 33)]
    for name in ("gelu", "silu", "relu", "leaky_relu", "elu", "softplus", "mish", "hardswish", "tanh", "sigmoid"):
        yield f"{name} long", getattr(functional, name), [make(1, LONG) * 8]
    yield "gelu tanh", partial(functional.gelu, approximate="tanh"), [make(1, LONG) * 8]
    yield "dropout", functional.dropout, [make(1, LONG)]
    yield "glu", functional.glu, [make(1, 333, 302)]


def _losses(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    labels = torch.arange(701) * 7 % 61
    yield "cross_entropy", lambda x: functional.cross_entropy(x, labels), [make(1, 701, 61)]
    smooth = partial(functional.cross_entropy, label_smoothing=0.1)
    yield "cross_entropy smoothed", lambda x: smooth(x, labels), [make(1, 701, 61)]
    target = (make(2, LONG) > 0).to(dtype)
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div"):
        function = getattr(functional, name)
        yield name, lambda x, function=function: function(x, target), [make(1, LONG)]
    yield "ctc_loss", _ctc, [make(1, 50, 4, 20)]


def _ctc(x: Any) -> Any:
    lengths = torch.full((4,), 50), torch.full((4,), 10)
    return functional.ctc_loss(torch.log_softmax(x, 2), torch.arange(40).reshape(4, 10) % 19 + 1, *lengths)


def _sums(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    flat, table = make(1, LONG, big=True), make(2, 317, 331, big=True)
    for name in ("sum", "mean", "var", "std", "prod", "nansum", "amax"):
        function = getattr(torch, name)
        yield f"{name} long", function, [flat]
        for dim in (0, 1):
            yield f"{name} table {dim}", partial(function, dim=dim), [table]
        yield f"{name} transposed", lambda x, function=function: function(x.t(), dim=0), [table]
        yield f"{name} strided", lambda x, function=function: function(x[:, ::2], dim=1), [table]
    for order in (1, 2, 3, float("inf")):
        yield f"norm {order}", partial(torch.linalg.vector_norm, ord=order), [flat]
        yield f"norm rows {order}", partial(torch.linalg.vector_norm, ord=order, dim=1), [table]
    for name in ("cumsum", "cumprod", "logcumsumexp", "sort", "argsort", "cummax"):
        function = getattr(torch, name)
        yield f"{name} long", partial(function, dim=0), [flat]
        yield f"{name} table", partial(function, dim=1), [table]
    yield "median", torch.median, [flat]
    yield "topk", partial(torch.topk, k=33), [flat]
    yield "quantile", partial(torch.quantile, q=0.3), [make(1, 40_001)]
    yield "histc", partial(torch.histc, bins=17), [make(1, LONG)]
    rows = torch.arange(LONG) * 13 % 331
    yield "index_add", lambda x: torch.zeros(331, dtype=dtype).index_add(0, rows, x), [flat]
    yield "scatter_add", lambda x: torch.zeros(331, dtype=dtype).scatter_add(0, rows, x), [flat]
    yield "index_put", lambda x: torch.zeros(331, dtype=dtype).index_put((rows,), x, accumulate=True), [flat]
    yield "gather", lambda x: torch.gather(x, 0, rows), [flat]
    yield "index", lambda x: x[rows], [flat]
    yield "bincount", lambda x: torch.bincount(rows, x.detach().double()), [flat]
    yield "broadcast", lambda x, y: (x + y) * (x - y) / (y * y + 1), [table, make(3, 331)]


def _decompositions(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for size in (3, 17, 65, 129):
        x = make(1, size, size + 3)
        square = x @ x.T + torch.eye(size, dtype=dtype)
        for name in ("svdvals", "qr", "pinv", "matrix_norm"):
            yield f"{name} {size}", getattr(torch.linalg, name), [x]
        for name in ("cholesky", "inv", "det", "slogdet", "eigvalsh", "eigh", "lu", "matrix_exp", "cond"):
            yield f"{name} {size}", getattr(torch.linalg, name), [square]
        yield f"solve {size}", torch.linalg.solve, [square, make(2, size, 2)]
        yield f"lstsq {size}", lambda a, b: torch.linalg.lstsq(a, b).solution, [x.T.clone(), make(2, size + 3, 2)]
    for size in (31, 1000, 1021):
        for name in ("fft", "rfft", "fft2"):
            yield f"{name} {size}", getattr(torch.fft, name), [make(1, 5, size)]


def _distances(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for order in (1.0, 2.0):  # above 25 rows Euclid's is computed by a product
        yield f"cdist {order}", partial(torch.cdist, p=order), [make(1, 31, 65), make(2, 37, 65)]
    yield "pdist", torch.pdist, [make(1, 31, 65)]


def _optimizers(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "RAdam", "Adamax", "Adadelta", "Rprop"):
        for foreach in (False, True):
            yield f"{name} foreach {foreach}", partial(_steps, name, foreach), [make(1, LONG), make(2, 31)]
    yield "Adam fused", partial(_steps, "Adam", None), [make(1, LONG), make(2, 31)]
    yield "AdamW fused", partial(_steps, "AdamW", None), [make(1, LONG), make(2, 31)]
    yield "SGD fused", partial(_steps, "SGD", None), [make(1, LONG), make(2, 31)]
    yield "clip", _clip, [make(1, LONG), make(2, 31)]


def _steps(name: str, foreach: bool | None, *values: Any) -> Any:
    weights = [torch.nn.Parameter(value.detach().clone()) for value in values]
    how = {"fused": True} if foreach is None else {"foreach": foreach}
    extra = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    optimizer = getattr(torch.optim, name)(weights, lr=0.01, **how, **extra)
    for step in range(3):
        for weight in weights:
            weight.grad = (weight.detach() * (step + 1)) + pattern(weight)
        optimizer.step()
    return [weight.detach() for weight in weights]


def _clip(*values: Any) -> Any:
    weights = [torch.nn.Parameter(value.detach().clone()) for value in values]
    for weight in weights:
        weight.grad = pattern(weight)
    return [torch.nn.utils.clip_grad_norm_(weights, 1.0), *[weight.grad for weight in weights]]


def _randoms(dtype: torch.dtype) -> Iterator[Case]:
    for name in ("rand", "randn"):
        yield name, partial(getattr(torch, name), LONG, dtype=dtype), []
    yield "randperm", partial(torch.randperm, 40_001), []
    yield "randint", partial(torch.randint, 0, 1000, (LONG,)), []
    for name in ("kaiming_uniform_", "xavier_normal_", "trunc_normal_", "orthogonal_"):
        yield name, lambda name=name: getattr(torch.nn.init, name)(torch.zeros(201, 203, dtype=dtype)), []
    yield "multinomial", lambda: torch.multinomial(torch.ones(1001, dtype=dtype), 501), []
    for name in ("exponential_", "log_normal_", "cauchy_", "geometric_"):
        arguments = (0.3,) if name == "geometric_" else ()
        yield name, lambda name=name, a=arguments: getattr(torch.zeros(LONG, dtype=dtype), name)(*a), []


def _database(dtype: torch.dtype) -> Iterator[Group]:
    """Element-wise operators and reductions of the database at sizes that torch splits among threads."""
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.opinfo.core import BinaryUfuncInfo, ReductionOpInfo, UnaryUfuncInfo

    for info in op_db:
        if dtype not in info.dtypes:
            continue
        if isinstance(info, UnaryUfuncInfo):
            shapes = ((LONG,),)
        elif isinstance(info, BinaryUfuncInfo):
            shapes = ((211, 301), (301,))
        elif isinstance(info, ReductionOpInfo) and not info.name.startswith("masked"):
            shapes = ((223, 317),)
        else:
            continue
        yield Group(
            f"{info.name}/{info.variant_test_name}/{_short(dtype)}", partial(run_cases, _one(info, shapes, dtype))
        )


def _one(info: Any, shapes: Any, dtype: torch.dtype) -> Callable[[], Iterator[Case]]:
    def cases() -> Iterator[Case]:
        inputs = [tensor(20 + index, *shape, dtype=dtype) for index, shape in enumerate(shapes)]
        yield "plain", info, inputs
        yield "positive", info, [value.abs() + 0.25 for value in inputs]
        yield "wide", info, [value * 32 for value in inputs]

    return cases
