"""Operators that torch's database does not call, called by hand: at odd sizes, forwards and backwards.

Some of them torch reaches only from inside others, whose results counted already; here each gets a verdict of its own.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tests.cross_cpu.groups import Group
from tests.cross_cpu.sizes import Case, run_cases, tensor

DTYPES = (torch.float32, torch.float64)
aten = torch.ops.aten


def groups() -> Iterator[Group]:
    """One group for each family of operators and dtype."""
    families = (
        _losses, _draws, _convolutions, _resizing, _padding, _quantisation, _sparse, _products, _attention, _flash,
        _embeddings, _normalisations, _decompositions, _steps, _nested, _pooling, _derivatives, _lists,
    )  # fmt: skip
    for family in families:
        for dtype in DTYPES:
            yield Group(
                f"{family.__name__[1:]}/{str(dtype).partition('.')[2]}", partial(run_cases, partial(family, dtype))
            )


def _losses(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    labels = torch.arange(3 * 13 * 17).reshape(3, 13, 17) * 7 % 5
    for reduction in ("mean", "sum", "none"):
        loss = partial(functional.cross_entropy, reduction=reduction, ignore_index=2)
        yield (
            f"cross_entropy of images {reduction}",
            lambda x, w, loss=loss: loss(x, labels, w.detach().abs() + 0.1),
            [make(1, 3, 5, 13, 17), make(2, 5)],
        )
    yield "nll_loss of images", lambda x: functional.nll_loss(x, labels), [make(1, 3, 5, 13, 17)]


def _draws(dtype: torch.dtype) -> Iterator[Case]:
    positive = tensor(1, 1003, dtype=dtype).abs() * 4 + 0.05
    for name, scale in (("below one", 0.2), ("about one", 1.0), ("large", 50.0)):
        yield f"gamma {name}", torch._standard_gamma, [positive * scale]
        yield f"poisson {name}", lambda x: torch.poisson(x.detach()), [positive * scale]
    derivative = torch._standard_gamma_grad
    yield "gamma's derivative", lambda x, y: derivative(x.detach(), y.detach()), [positive, positive.flip(0) + 0.1]
    yield "dirichlet", lambda x: torch._sample_dirichlet(x.detach()), [positive[:1001].reshape(143, 7)]
    simplex = positive[:1001].reshape(143, 7)
    share = simplex / simplex.sum(1, keepdim=True)
    total = simplex.sum(1, keepdim=True).expand_as(simplex)
    yield "dirichlet's derivative", lambda x: torch._dirichlet_grad(share, x.detach(), total), [simplex]
    yield "binomial", lambda p: torch.binomial((positive * 30).floor(), p.detach()), [(positive / 5).clamp(0, 1)]
    yield "native_dropout", lambda x: torch.native_dropout(x, 0.3, True), [tensor(2, 37, 129, dtype=dtype)]
    yield "range", lambda: aten.range(0, 7, dtype=dtype), []
    yield "range by a step", lambda: aten.range.step(-3, 7, 0.3, dtype=dtype), []


def _convolutions(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    yield "conv_tbc", partial(torch.conv_tbc, pad=1), [make(1, 19, 3, 17), make(2, 3, 17, 13), make(3, 13)]
    for batch, channels, filters, size, kernel in ((1, 3, 5, 9, 3), (3, 17, 11, 13, 1), (2, 16, 32, 15, 3)):
        case = f"{batch} {channels} {filters} {size} {kernel}"
        flat = [make(1, batch, channels, size, size), make(2, filters, channels, kernel, kernel), make(3, filters)]
        deep = [part.unsqueeze(-1).repeat_interleave(kernel + 2 * (part.dim() == 4 and index == 0), -1)
                if part.dim() == 4 else part for index, part in enumerate(flat)]  # fmt: skip
        flat_back = [flat[0], flat[1].transpose(0, 1).contiguous(), flat[2]]
        deep_back = [deep[0], deep[1].transpose(0, 1).contiguous(), deep[2]]
        k2, k3 = [kernel] * 2, [kernel] * 3
        yield f"slow 2d {case}", partial(_slow, aten._slow_conv2d_forward, k2, ([1] * 2, [1] * 2)), flat
        yield f"slow 3d {case}", partial(_slow, aten.slow_conv3d_forward, k3, ([1] * 3, [1] * 3)), deep
        yield f"dilated 2d {case}", partial(_slow, aten.slow_conv_dilated2d, k2, ([1] * 2, [2] * 2, [2] * 2)), flat
        yield f"dilated 3d {case}", partial(_slow, aten.slow_conv_dilated3d, k3, ([1] * 3, [2] * 3, [2] * 3)), deep
        yield f"transposed 2d {case}", partial(_slow, aten.slow_conv_transpose2d, k2, ()), flat_back
        yield f"transposed 3d {case}", partial(_slow, aten.slow_conv_transpose3d, k3, ()), deep_back


def _slow(operator: Any, kernel: list[int], rest: tuple[Any, ...], x: Any, weight: Any, bias: Any) -> Any:
    return operator(x, weight, kernel, bias, *rest)


def _resizing(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    images, bodies = make(1, 2, 3, 17, 13), make(1, 2, 3, 7, 6, 5)
    for size in ((31, 29), (7, 5), (17, 40)):
        for align in (False, True):
            yield f"bicubic {size} {align}", lambda x, s=size, a=align: aten._upsample_bicubic2d_aa(x, s, a), [images]
            yield f"lanczos {size} {align}", lambda x, s=size, a=align: aten._upsample_lanczos2d_aa(x, s, a), [images]
        for mode in ("nearest", "nearest-exact"):
            yield f"{mode} {size}", partial(functional.interpolate, size=size, mode=mode), [images]
            deep = (*size, 9)
            yield f"{mode} {deep}", partial(functional.interpolate, size=deep, mode=mode), [bodies]


def _padding(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for mode in ("reflect", "replicate"):
        for shape, pad in (((2, 3, 17), (3, 2)), ((2, 3, 17, 13), (3, 2, 1, 4)), ((2, 3, 7, 6, 5), (1, 2, 3, 1, 2, 4))):
            yield f"{mode} {len(shape) - 2}d", partial(functional.pad, pad=pad, mode=mode), [make(1, *shape)]


def _quantisation(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    x, scale, zero = make(1, 7, 143) * 4, torch.tensor([0.03]), torch.tensor([5], dtype=torch.int32)
    scales, zeros = make(2, 7).abs().float() * 0.1 + 0.01, torch.arange(7, dtype=torch.int32)
    yield "a tensor", lambda x: torch.fake_quantize_per_tensor_affine(x, 0.03, 5, 0, 255), [x]
    yield (
        "a tensor by tensors", lambda x: torch.fake_quantize_per_tensor_affine(x, scale[0], zero[0], 0, 255), [x],
    )  # fmt: skip
    yield (
        "channels", lambda x: torch.fake_quantize_per_channel_affine(x, scales, zeros, 0, 0, 255), [x],
    )  # fmt: skip
    if dtype is torch.float32:  # torch has them for no other
        learnable = torch._fake_quantize_learnable_per_tensor_affine
        by_channel = torch._fake_quantize_learnable_per_channel_affine
        yield "learnable", lambda x, s, z: learnable(x, s, z, 0, 255, 0.7), [x, scale, zero.float()]
        yield "learnable channels", lambda x, s, z: by_channel(x, s, z, 0, 0, 255, 0.7), [x, scales, zeros.float()]
    for rows in (False, True):
        yield f"observed {rows}", partial(_observed, rows), [x.float()]
    for kind in (torch.quint8, torch.qint8, torch.qint32):
        yield f"there and back {kind}", partial(_there_and_back, kind), [x.detach().float()]


def _observed(rows: bool, x: Any) -> Any:
    count = 7 if rows else 1
    on, low, high = torch.ones(1, dtype=torch.int64), torch.full((count,), -1.0), torch.full((count,), 1.0)
    scale, zero = torch.ones(count), torch.zeros(count, dtype=torch.int32)
    made = torch.fused_moving_avg_obs_fake_quant(x, on, on, low, high, scale, zero, 0.01, 0, 255, 0, rows)
    return made, low, high, scale, zero


def _there_and_back(kind: torch.dtype, x: Any) -> Any:
    x = x.detach()
    steps, zeros = torch.linspace(0.01, 0.09, 7, dtype=torch.float64), torch.arange(7)
    made = [
        torch.quantize_per_tensor(x, 0.03, 5, kind),
        torch.quantize_per_tensor(x, torch.tensor(0.03), torch.tensor(5), kind),
        torch.quantize_per_channel(x, steps, zeros, 0, kind),
    ]
    if kind != torch.qint32:
        made.append(torch.quantize_per_tensor_dynamic(x, kind, False))
    return [part.dequantize() for part in made]


def _sparse(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    dense = make(1, 37, 65) * (make(2, 37, 65) > 0.5)
    yield "mm", lambda b: torch.sparse.mm(dense.to_sparse(), b), [make(3, 65, 13)]
    yield (
        "addmm",
        lambda c, b: torch.sparse.addmm(c, dense.to_sparse(), b, beta=0.5),
        [make(4, 37, 13), make(3, 65, 13)],
    )
    yield "to the matrix", lambda a, b: torch.sparse.mm(a.to_sparse(), b).sum(1), [dense, make(3, 65, 13)]
    yield "sspaddmm", _sspaddmm, [dense, make(3, 65, 13), make(4, 37, 13)]
    yield "spdiags", lambda x: torch.sparse.spdiags(x.detach(), torch.tensor([-1, 0, 2]), (13, 13)), [make(5, 3, 13)]
    for layout in (torch.sparse_csr, torch.sparse_csc):
        yield f"{layout}", lambda x, layout=layout: x.detach().to_sparse(layout=layout).to_dense(), [dense]
    for layout in (torch.sparse_bsr, torch.sparse_bsc):
        yield (
            f"{layout}",
            lambda x, layout=layout: x.detach().to_sparse(layout=layout, blocksize=(2, 2)).to_dense(),
            [dense[:36, :64]],
        )


def _sspaddmm(a: Any, b: Any, c: Any) -> Any:
    return torch.sspaddmm(c.detach().to_sparse(), a.detach().to_sparse(), b.detach())


def _products(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for m, k, n in ((3, 5, 7), (129, 257, 65), (1, 1001, 33)):
        a, b, bias = make(1, m, k), make(2, k, n), make(3, n)
        for gelu in (False, True):
            yield (
                f"addmm_activation {m} {k} {n} {gelu}",
                lambda c, a, b, gelu=gelu: torch._addmm_activation(
                    c.detach(), a.detach(), b.detach(), beta=0.5, use_gelu=gelu
                ),
                [bias, a, b],
            )
        yield f"foreach_mm {m} {k} {n}", lambda a, b: torch._foreach_mm([a, a * 2], [b, b]), [a, b]
    if dtype is torch.float32:  # torch has it for no longer type
        ends = torch.tensor([5, 19, 37], dtype=torch.int32)
        yield "grouped_mm", lambda a, b: torch._grouped_mm(a, b, offs=ends), [make(1, 37, 64), make(2, 3, 64, 32)]
        yield "grouped_mm of batches", torch._grouped_mm, [make(1, 3, 37, 64), make(2, 3, 64, 32)]
    combine = aten._compute_linear_combination
    yield "combination", lambda x, c: combine(x.detach(), c.detach()), [make(1, 7, 9, 11), make(2, 5, 7)]
    yield "weight_norm first", lambda v, g: torch._weight_norm(v, g, 0), [make(1, 37, 13, 5), make(2, 37, 1, 1)]
    yield "weight_norm last", lambda v, g: torch._weight_norm(v, g, 2), [make(1, 37, 13, 5), make(2, 1, 1, 5)]
    yield "weight_norm interface", lambda v, g: torch._weight_norm_interface(v, g, 0), [make(1, 37, 65), make(2, 37, 1)]
    yield "add_relu", lambda a, b: torch._VF._add_relu(a.detach(), b.detach()), [make(1, 37, 65), make(2, 65)]


def _attention(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for width, heads, batch, length in ((32, 4, 3, 17), (24, 2, 1, 65), (64, 8, 2, 129)):
        case = f"{width} {heads} {batch} {length}"
        x = make(1, batch, length, width)
        qkv, qkv_bias, out, out_bias = (
            make(2, 3 * width, width), make(3, 3 * width), make(4, width, width), make(5, width),
        )  # fmt: skip
        yield f"rescaling {case}", lambda x, heads=heads: _rescaled(x, heads), [make(1, batch, length, 3 * width)]
        mask = torch.zeros(batch, length, dtype=torch.bool)
        mask[:, -2:] = True
        for name, hidden, kind in (("plain", None, None), ("padded", mask, 1)):
            native = partial(_native_attention, width, heads, hidden, kind)
            yield f"attention {name} {case}", native, [x, qkv, qkv_bias, out, out_bias]
            for gelu in (False, True):
                for first in (False, True):
                    layer = partial(_layer, width, heads, gelu, first, hidden, kind)
                    yield f"layer {name} {gelu} {first} {case}", layer, [x, qkv, qkv_bias, out, out_bias]
    scores, hidden = make(1, 3, 4, 17, 17), (make(2, 17, 17) > 0.3)
    yield "masked softmax", lambda x: torch._masked_softmax(x.detach(), hidden, 3, 0), [scores]
    yield "masked softmax of padding", lambda x: torch._masked_softmax(x.detach(), hidden[:3], 3, 1), [scores]
    yield "masked softmax whole", lambda x: torch._masked_softmax(x, hidden.expand_as(x).contiguous(), 3, 2), [scores]


def _rescaled(qkv: Any, heads: int) -> Any:
    qkv = qkv.detach()
    return torch._transform_bias_rescale_qkv(qkv, torch.linspace(-1, 1, qkv.shape[-1], dtype=qkv.dtype), heads)


def _native_attention(width: int, heads: int, mask: Any, kind: Any, *given: Any) -> Any:
    x, *weights = (value.detach() for value in given)
    return torch._native_multi_head_attention(x, x, x, width, heads, *weights, mask, True, True, kind)


def _layer(width: int, heads: int, gelu: bool, first: bool, mask: Any, kind: Any, *given: Any) -> Any:
    x, *weights = (value.detach() for value in given)
    make = partial(tensor, dtype=x.dtype)
    norms = [make(6, width), make(7, width), make(8, width), make(9, width)]
    feed = [make(10, 2 * width, width), make(11, 2 * width), make(12, width, 2 * width), make(13, width)]
    return torch._transformer_encoder_layer_fwd(
        x, width, heads, *weights, gelu, first, 1e-5, *norms, *feed, mask, kind
    )  # fmt: skip


def _flash(dtype: torch.dtype) -> Iterator[Case]:
    """The tiled kernel that long sequences take: its tiles grow at 192 and 768 queries."""
    make = partial(tensor, dtype=dtype)
    flash = aten._scaled_dot_product_flash_attention_for_cpu
    shapes = ((1, 1, 3, 5, 8), (2, 3, 65, 67, 24), (1, 2, 301, 299, 32), (1, 1, 801, 801, 16))
    for batch, heads, queries, keys, width in shapes:
        inputs = [make(1, batch, heads, queries, width), *(make(s, batch, heads, keys, width) for s in (2, 3))]
        case = f"{batch} {heads} {queries} {keys} {width}"
        yield f"flash {case}", lambda q, k, v: flash(q, k, v)[0], inputs
        yield f"flash causal {case}", lambda q, k, v: flash(q, k, v, 0.0, True)[0], inputs
        mask = make(4, queries, keys)
        yield f"flash masked {case}", lambda q, k, v, m=mask: flash(q, k, v, attn_mask=m)[0], inputs


def _embeddings(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    indices = torch.arange(501) * 7 % 97
    offsets = torch.arange(0, 501, 3)
    weight, gradient = make(1, 97, 33), make(2, 167, 33)
    for norm in (1.0, 2.0, 3.0):
        renorm = partial(_renormed, indices, norm)
        yield f"renorm {norm}", renorm, [weight]
    for mode in (0, 1, 2):
        forward = aten._embedding_bag_forward_only
        yield f"bag {mode}", lambda w, m=mode, f=forward: f(w.detach(), indices, offsets, False, m), [weight]
        for frequent in (False, True) if mode != 2 else (False,):
            yield f"bag back {mode} {frequent}", partial(_bag_back, mode, frequent), [weight, gradient]
    rows = torch.arange(1001) * 13 % 97
    yield "index_put", lambda x, v: _put(rows[:97], False, x, v), [make(1, 97, 5), make(2, 97, 5, big=True)]
    yield "index_put added up", lambda x, v: _put(rows, True, x, v), [make(1, 97, 5), make(2, 1001, 5, big=True)]


def _renormed(indices: Any, norm: float, weight: Any) -> Any:
    return torch.embedding_renorm_(weight.detach().clone(), indices, 1.0, norm)


def _put(rows: Any, accumulate: bool, x: Any, values: Any) -> Any:
    return aten._index_put_impl_(x.detach().clone(), [rows], values.detach(), accumulate)


def _bag_back(mode: int, frequent: bool, weight: Any, gradient: Any) -> Any:
    indices, offsets = torch.arange(501) * 7 % 97, torch.arange(0, 501, 3)
    weight, gradient, places = weight.detach(), gradient.detach(), torch.arange(501) // 3
    _, _, sizes, largest = torch._embedding_bag(weight, indices, offsets, frequent, mode)
    return aten._embedding_bag_dense_backward(gradient, indices, places, sizes, largest, 97, frequent, mode, None)


def _normalisations(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for shape in ((4, 6, 5, 7), (3, 16, 33, 31)):
        x, zeros = make(1, *shape), torch.zeros(shape[1], dtype=dtype)
        yield f"statistics {shape}", lambda x, z=zeros: _statistics(x, z), [x]
        yield (
            f"no update {shape}",
            lambda x, w, b, z=zeros: aten._batch_norm_no_update(x, w, b, z, z + 1.5, 0.1, 1e-5)[0],
            [x, make(2, shape[1]), make(3, shape[1])],
        )
        yield (
            f"no training {shape}",
            lambda x, w, b, z=zeros: torch._native_batch_norm_legit_no_training(x, w, b, z, z + 1.5, 0.1, 1e-5)[0],
            [x, make(2, shape[1]), make(3, shape[1])],
        )


def _statistics(x: Any, zeros: Any) -> Any:
    mean, variance = zeros.clone(), zeros + 1
    return torch.batch_norm_update_stats(x.detach(), mean, variance, 0.1), mean, variance


def _decompositions(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    for size in (3, 17, 65):
        x = make(1, size, size)
        lower = torch.linalg.cholesky(x @ x.T + torch.eye(size, dtype=dtype))
        for upper in (False, True):
            yield (
                f"cholesky_solve {size} {upper}",
                lambda b, a, u=upper: aten._cholesky_solve_helper(b.detach(), a.detach(), u),
                [make(2, size, 3), lower.T.contiguous() if upper else lower],
            )
        complex_ = torch.complex(x, x)
        yield f"eigvals {size}", lambda a, c=complex_: aten.linalg_eigvals.out(a.detach(), out=c.new_empty(0)), [x]
        yield f"eigvals inside {size}", lambda a: aten._linalg_eigvals(a.detach()), [x]
    for order in (1, 2, 3):
        yield f"powsum {order}", lambda x, p=order: aten.linalg__powsum(x.detach(), p, [1]), [make(1, 37, 129)]
    yield "logcumsumexp", lambda x: aten._logcumsumexp(x.detach(), 1), [make(1, 37, 129)]


def _steps(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    yield "Adagrad fused", _adagrad, [make(1, 1003), make(2, 31)]
    yield "unscaling", _unscaled, [make(1, 1003), make(2, 31)]
    for found in (0.0, 1.0):
        yield f"scale {found}", partial(_scale, found), []


def _adagrad(*values: Any) -> Any:
    weights = [torch.nn.Parameter(value.detach().clone()) for value in values]
    optimizer = torch.optim.Adagrad(weights, lr=0.01, weight_decay=0.1, lr_decay=0.01, fused=True)
    for step in range(3):
        for weight in weights:
            weight.grad = weight.detach() * (step + 1) + 0.25
        optimizer.step()
    return [weight.detach() for weight in weights]


def _unscaled(*values: Any) -> Any:
    gradients, found = [value.detach().clone() for value in values], torch.zeros(1)
    torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, torch.tensor([1 / 3]))
    return gradients, found


def _scale(found: float) -> Any:
    scale, growth = torch.tensor([65536.0]), torch.tensor([1], dtype=torch.int32)
    torch._amp_update_scale_(scale, growth, torch.tensor([found]), 2.1, 0.3, 2)
    return scale, growth


def _nested(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    ends = torch.tensor([0, 3, 3, 11, 17])
    yield "to padded", lambda x: aten._jagged_to_padded_dense_forward(x.detach(), [ends], [9], 0.5), [make(1, 17, 5)]
    yield "to jagged", lambda x: aten._padded_dense_to_jagged_forward(x.detach(), [ends], 17), [make(1, 4, 9, 5)]
    padded, shapes = [make(1, 2, 9, 5)], torch.tensor([[3, 5], [8, 5]])
    rows = torch.arange(9) < torch.tensor([[3], [8]])
    yield "from padded", lambda x: torch._nested_from_padded(x.detach(), shapes).to_padded_tensor(0.5), padded
    yield "from a mask", lambda x: torch._nested_tensor_from_mask(x.detach(), rows).to_padded_tensor(0.5), padded


def _pooling(dtype: torch.dtype) -> Iterator[Case]:
    make = partial(tensor, dtype=dtype)
    flat, deep = make(1, 2, 3, 17, 13), make(1, 2, 3, 9, 8, 7)
    for name, size, x in (("2d", [3, 5], flat), ("3d", [3, 5, 2], deep)):
        pool = getattr(aten, f"adaptive_avg_pool{name}").out
        yield f"average {name}", lambda x, p=pool, s=size: p(x.detach(), s, out=x.new_empty(0).detach()), [x]
    yield (
        "average 3d back",
        lambda x: aten.adaptive_avg_pool3d_backward.grad_input(
            x.detach()[..., :3, :5, :2], x.detach(), grad_input=torch.empty_like(x).detach()
        ),
        [deep],
    )


def _derivatives(dtype: torch.dtype) -> Iterator[Case]:
    """Derivatives forwards."""
    make = partial(tensor, dtype=dtype)
    x, dx = make(1, 37, 66), make(2, 37, 66)
    half = functional.glu(x)
    yield "glu", lambda x, dx: aten.glu_jvp(half, x.detach(), dx.detach(), 1), [x, dx]
    yield (
        "glu twice",
        lambda x, dx: aten.glu_backward_jvp(dx.detach() * 0.5, half * 0.3, x.detach(), half * 0.7, dx.detach(), 1),
        [x, dx],
    )


def _lists(dtype: torch.dtype) -> Iterator[Case]:
    """What works on lists of tensors, one after the other."""
    make = partial(tensor, dtype=dtype)
    a, b = make(1, 37, 65), make(2, 37, 65).abs() + 0.5
    yield "div", lambda a, b: torch._foreach_div([a, b], [b, b]), [a, b]
    yield "pow", lambda a, b: torch._foreach_pow([b, b], [a.detach(), a.detach()]), [a, b]
    yield "maximum", lambda a, b: torch._foreach_maximum([a, b], [b, a]), [a, b]
    yield "minimum", lambda a, b: torch._foreach_minimum([a, b], [b, a]), [a, b]
    yield "affine_grid", lambda x: functional.affine_grid(x, [2, 3, 7, 9], align_corners=False), [make(1, 2, 2, 3)]
