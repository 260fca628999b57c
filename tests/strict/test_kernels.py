"""The kernels that strict puts into torch, each against torch's own and against exact or float64 references."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from harness.strict.kernels.attention import LARGEST, replace_attention  # noqa: E402
from harness.strict.kernels.convolutions import replace_convolutions  # noqa: E402
from harness.strict.kernels.decompositions import replace_cholesky  # noqa: E402
from harness.strict.kernels.functions import replace_functions  # noqa: E402
from harness.strict.kernels.library import Registered  # noqa: E402
from harness.strict.kernels.products import ACTIVATED, OPERATORS, replace_products  # noqa: E402
from harness.strict.kernels.recurrent import replace_layers  # noqa: E402


@pytest.fixture
def registered() -> Iterator[Registered]:
    """Kernels of strict in this process; torch's own are back once the last of `registered` is gone."""
    made = Registered(torch)
    yield made
    made.withdraw()


def numbers(*shape: int, dtype: Any = torch.float32, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def arguments(name: str, dtype: Any, inner: int = 5) -> list[Any]:
    """What `name` takes: 4 rows, `inner` terms a sum, 3 columns, 2 matrices a batch."""
    shapes: dict[str, list[tuple[int, ...]]] = {
        "mm": [(4, inner), (inner, 3)],
        "addmm": [(4, 3), (4, inner), (inner, 3)],
        "bmm": [(2, 4, inner), (2, inner, 3)],
        "baddbmm": [(2, 4, 3), (2, 4, inner), (2, inner, 3)],
        "addbmm": [(4, 3), (2, 4, inner), (2, inner, 3)],
        "mv": [(4, inner), (inner,)],
        "addmv": [(4,), (4, inner), (inner,)],
    }
    return [numbers(*shape, dtype=dtype, seed=place) for place, shape in enumerate(shapes[name])]


def outcome(work: Any) -> str:
    """The error that a call ends with, in words, or its value's type, shape and numbers."""
    try:
        value = work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"{value.dtype} {tuple(value.shape)} {value.tolist()}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_routed_product_is_the_exact_one_rounded_and_the_same_in_each_overload(
    registered: Registered, name: str, dtype: Any
) -> None:
    operator = getattr(torch, name)
    given = arguments(name, dtype, inner=33)
    factors = {"beta": 0.5, "alpha": -2} if name.startswith(("add", "badd")) else {}
    exact = operator(*(one.double() for one in given), **factors)
    replace_products(registered)
    routed = operator(*given, **factors)
    assert routed.dtype is dtype
    assert (routed.double() - exact).abs().max() <= 33 * torch.finfo(dtype).eps * 10
    out = torch.empty_like(routed)
    assert operator(*given, **factors, out=out) is out
    assert torch.equal(out, routed)
    if factors:
        changed = given[0].clone()
        assert getattr(changed, f"{name}_")(*given[1:], **factors) is changed
        assert torch.equal(changed, routed)


def test_the_product_is_numpys_to_the_bit(registered: Registered) -> None:
    a, b = numbers(37, 65), numbers(65, 29, seed=1)
    replace_products(registered)
    assert np.array_equal(torch.mm(a, b).numpy(), a.numpy() @ b.numpy())
    assert np.array_equal(torch.mm(b.t(), a.t()).numpy(), b.numpy().T @ a.numpy().T)


def test_strided_expanded_and_negated_operands_are_taken_for_what_they_are(registered: Registered) -> None:
    wide = numbers(24, 40, dtype=torch.float64)
    column, batch = wide[:, 3:4], wide[:12, :10].reshape(2, 6, 10)
    imaginary = torch.complex(wide, wide).conj().imag
    assert imaginary.is_neg()
    pairs = [
        (wide[::2, ::3], wide[1:15:1, 2:9]), (wide.t()[::4], wide[:, ::5]), (column.expand(24, 40), wide.t()),
        (column.t(), wide), (wide[:1], wide.t()), (wide.t()[:1], wide), (wide[:, :0], wide[:0]), (wide[:0], wide.t()),
        (imaginary, wide.t()), (wide, imaginary.t()), (wide[:, 7:8], wide[9:10]),
    ]  # fmt: skip
    batches = [
        (batch, batch.transpose(1, 2)), (batch[:1].expand(3, 6, 10), batch[1:].expand(3, 6, 10).transpose(1, 2)),
        (batch.permute(2, 1, 0), batch.permute(2, 0, 1)), (batch[:0], batch[:0].transpose(1, 2)),
        (batch[:, :, ::2], batch[:, :5, ::3]), (batch.transpose(0, 1), batch.permute(1, 2, 0)),
    ]  # fmt: skip
    wanted = [torch.mm(a, b) for a, b in pairs] + [torch.bmm(a, b) for a, b in batches]
    replace_products(registered)
    found = [torch.mm(a, b) for a, b in pairs] + [torch.bmm(a, b) for a, b in batches]
    for before, after in zip(wanted, found, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-13, atol=1e-13)


def test_what_is_multiplied_by_a_beta_of_zero_is_not_read(registered: Registered) -> None:
    replace_products(registered)
    for name in ("addmm", "baddbmm", "addbmm", "addmv"):
        first, *rest = arguments(name, torch.float32)
        first.fill_(math.nan)
        assert getattr(torch, name)(first, *rest, beta=0).isfinite().all()
        assert getattr(torch, name)(first, *rest).isnan().all()


def test_what_torch_refuses_is_refused_in_its_words(registered: Registered) -> None:
    a, b = numbers(4, 5), numbers(5, 3)
    calls = [
        lambda: torch.mm(a, b.double()),
        lambda: torch.mm(a, a),
        lambda: torch.mm(a, b[0]),
        lambda: torch.mm(a.unsqueeze(0), b),
        lambda: torch.bmm(a, b),
        lambda: torch.bmm(a.expand(2, 4, 5), b.expand(3, 5, 3)),
        lambda: torch.mv(a, b),
        lambda: torch.addmm(numbers(3, 3), a, b),
        lambda: torch.addmm(numbers(2, 4, 3), a, b),
        lambda: torch.addmm(numbers(4, 3).double(), a, b),
        lambda: torch.addmm(numbers(4, 3), a, b, alpha=1j),
        lambda: torch.addmm(numbers(4, 3), a, b, beta=True),
        lambda: torch.mm(a, b, out=torch.empty(4, 3, dtype=torch.float64)),
        lambda: numbers(3).addmm_(a, b),
        lambda: torch.empty(3, device="meta").addmm_(a, b),
        lambda: torch.mm(a, b.to("meta")),
        lambda: torch.mm(a.to_sparse(), b),
        lambda: torch.sqrt(a, out=torch.empty(4, 5, dtype=torch.int64)),
        lambda: torch.ones(3, dtype=torch.int64).sqrt_(),
    ]
    wanted = [outcome(call) for call in calls]
    replace_products(registered)
    replace_functions(registered)
    for call, words in zip(calls, wanted, strict=True):
        if "torch.float32 (" not in words:
            assert outcome(call) == words


def test_products_of_whole_numbers_and_what_is_complex_stay_with_torch(registered: Registered) -> None:
    whole = torch.arange(12).reshape(3, 4)
    complex_ = torch.complex(numbers(3, 4), numbers(3, 4, seed=1))
    wanted = [outcome(lambda: torch.mm(whole, whole.t())), outcome(lambda: torch.mm(complex_, complex_.mH))]
    powers = [lambda: torch.sqrt(complex_), lambda: complex_**0.5, lambda: numbers(3).abs() ** (0.5 + 0j)]
    roots = [outcome(call) for call in powers]
    replace_products(registered)
    replace_functions(registered)
    assert [outcome(lambda: torch.mm(whole, whole.t())), outcome(lambda: torch.mm(complex_, complex_.mH))] == wanted
    assert [outcome(call) for call in powers] == roots


@pytest.mark.parametrize("gelu", [False, True])
def test_a_product_with_an_activation_is_routed_too(registered: Registered, gelu: bool) -> None:
    given, operator = arguments("addmm", torch.float32, inner=33), getattr(torch, ACTIVATED)
    own = operator(*given, beta=0.5, alpha=-2, use_gelu=gelu)
    replace_products(registered)
    product = torch.addmm(*given, beta=0.5, alpha=-2)
    wanted = torch.nn.functional.gelu(product) if gelu else product.relu()
    assert torch.equal(operator(*given, beta=0.5, alpha=-2, use_gelu=gelu), wanted)
    assert torch.equal(operator(*given, beta=0.5, alpha=-2, use_gelu=gelu, out=torch.empty(4, 3)), wanted)
    torch.testing.assert_close(own, wanted)
    assert np.array_equal(operator(torch.zeros(3), *given[1:]), np.maximum(given[1].numpy() @ given[2].numpy(), 0))


def test_in_evaluation_a_transformers_products_are_numpys(registered: Registered, monkeypatch: Any) -> None:
    replace_products(registered)
    called: list[Any] = []
    matmul = np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b, **keywords: (called.append(a.shape), matmul(a, b, **keywords))[1])
    replace_products(registered)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 23, batch_first=True).eval()
    with torch.no_grad(), torch.profiler.profile() as profile:
        layer(numbers(3, 5, 8))
    taken = {event.key for event in profile.key_averages()}
    assert {"aten::_transformer_encoder_layer_fwd", f"aten::{ACTIVATED}"} <= taken
    assert (15, 23) in called  # the layer's second product, whose first is the activated one
    assert len(called) >= 6


INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("sqrt", np.sqrt), ("acos", np.arccos), ("asin", np.arcsin), ("atan", np.arctan), ("log", np.log),
        ("tan", np.tan),
    ],
)  # fmt: skip
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_functions_of_whole_numbers_are_numpys_in_torchs_default_type(
    registered: Registered, name: str, theirs: Any, default: Any
) -> None:
    function = getattr(torch, name)
    replace_functions(registered)
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        for dtype in INTEGERS:
            whole = torch.arange(1, 10_001) if dtype.itemsize > 1 else torch.arange(2)
            given = whole.to(dtype)
            with np.errstate(all="ignore"):
                exact = theirs(given.numpy().astype(str(default).partition(".")[2]))
            found = function(given)
            assert found.dtype is default
            assert np.array_equal(found.numpy(), exact, equal_nan=True)
            into = torch.empty(0, dtype=torch.float64)
            assert np.array_equal(function(given, out=into).numpy(), exact.astype("f8"), equal_nan=True)
            assert np.array_equal(function(given[::2]).numpy(), exact[::2], equal_nan=True)
            if name == "sqrt":
                assert np.array_equal((given**0.5).numpy(), exact)
                assert np.array_equal(torch.pow(given, 0.5, out=torch.empty_like(found)).numpy(), exact)
                assert np.array_equal(torch.float_power(given, 0.5).numpy(), np.sqrt(given.numpy().astype("f8")))
    finally:
        torch.set_default_dtype(before)


def test_of_whole_numbers_type_layout_and_refusals_are_torchs(registered: Registered) -> None:
    squares = torch.arange(12).square().reshape(3, 4)
    low = torch.bfloat16
    calls = [
        *(lambda dtype=dtype: torch.sqrt(squares.to(dtype)) for dtype in (*INTEGERS, torch.uint16)),
        *(lambda dtype=dtype: squares.to(dtype) ** 0.5 for dtype in (*INTEGERS, torch.uint16)),
        *(lambda dtype=dtype: torch.sqrt(squares, out=torch.empty(3, 4, dtype=dtype)) for dtype in (*INTEGERS, low)),
        *(lambda dtype=dtype: torch.pow(squares, 0.5, out=torch.empty(0, dtype=dtype)) for dtype in (torch.int64, low)),
        lambda: torch.sqrt(squares, out=torch.empty(3, 4, dtype=torch.complex64)),
        lambda: squares.clone().sqrt_(),
        lambda: squares.clone().pow_(0.5),
        lambda: torch.sqrt(squares.t()),
        lambda: torch.sqrt(squares[:, ::2]),
        lambda: torch.sqrt(squares.expand(2, 3, 4)),
        lambda: torch.tensor(4).sqrt(),
        lambda: torch.empty(0, dtype=torch.int64).sqrt(),
        lambda: torch.tensor([True, False]) ** 0.5,
    ]

    def told(call: Any) -> str:
        try:
            value = call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return f"{value.dtype} {tuple(value.shape)} {value.stride()} {value.tolist()}"

    wanted = [told(call) for call in calls]
    replace_functions(registered)
    assert [told(call) for call in calls] == wanted


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_of_low_precision_are_those_of_float32_rounded_once(registered: Registered, dtype: Any) -> None:
    replace_products(registered)
    for name in OPERATORS:
        given = arguments(name, dtype, inner=21)
        routed = getattr(torch, name)(*given)
        assert torch.equal(routed, getattr(torch, name)(*(one.float() for one in given)).to(dtype)), name


@pytest.mark.parametrize("name", OPERATORS)
def test_first_and_second_derivatives_of_products_are_right(registered: Registered, name: str) -> None:
    replace_products(registered)
    given = [one.requires_grad_() for one in arguments(name, torch.float64, inner=2)]
    assert torch.autograd.gradcheck(getattr(torch, name), given)
    assert torch.autograd.gradgradcheck(getattr(torch, name), given)


def test_a_product_is_a_tensor_like_any_other(registered: Registered) -> None:
    replace_products(registered)
    a, b = numbers(4, 5), numbers(5, 3)
    product = torch.mm(a, b)
    assert product.is_contiguous()
    product.resize_(20, 20)
    other = torch.empty(7)
    with pytest.warns(UserWarning, match="resized"):
        torch.mm(a, b, out=other)
    assert torch.equal(other, torch.mm(a, b))
    within = torch.zeros(4, 6)
    torch.mm(a, b, out=within[:, ::2])
    assert torch.equal(within[:, ::2], torch.mm(a, b))
    assert not within[:, 1::2].any()
    square = numbers(5, 5)
    wanted = torch.mm(square, square)
    torch.addmm(square, square, square, beta=0, out=square)
    assert torch.equal(square, wanted)


def test_vmap_fake_tensors_and_tracing_see_the_operators_that_they_know(registered: Registered) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    replace_products(registered)
    replace_functions(registered)
    stack, matrix = numbers(6, 4, 5).abs(), numbers(5, 3)
    many = torch.vmap(lambda one: torch.mm(one, matrix).abs().sqrt())(stack)
    torch.testing.assert_close(many, (stack @ matrix).abs().sqrt())
    first = stack[0].clone()
    with FakeTensorMode() as mode:
        fake = torch.mm(mode.from_tensor(first), mode.from_tensor(matrix)).sqrt()
    assert tuple(fake.shape) == (4, 3)
    assert torch.mm(stack[0].to("meta"), matrix.to("meta")).shape == (4, 3)
    traced = make_fx(lambda one: torch.mm(one, matrix).sqrt())(stack[0])
    assert [str(node.target) for node in traced.graph.nodes if node.op == "call_function"] == [
        "aten.mm.default",
        "aten.sqrt.default",
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_square_roots_are_correctly_rounded(registered: Registered, dtype: Any) -> None:
    x = numbers(4099, dtype=dtype).abs() * 1e3
    replace_functions(registered)
    exact = torch.tensor([math.sqrt(value) for value in x.tolist()], dtype=torch.float64).to(dtype)
    out = torch.empty_like(x)
    for found in (
        x.sqrt(), x**0.5, torch.sqrt(x, out=out), out, x.clone().sqrt_(), x.clone().pow_(0.5),
        torch.pow(x, 0.5, out=torch.empty_like(x)), torch._foreach_sqrt([x])[0],
    ):  # fmt: skip
        assert torch.equal(found, exact)
    assert torch.equal(x.reshape(1, 4099).expand(2, 4099).sqrt()[1], exact)
    assert torch.equal(x[::3].sqrt(), exact[::3])
    into = torch.zeros(4099, 2, dtype=dtype)
    torch.sqrt(x, out=into[:, 1])
    assert torch.equal(into[:, 1], exact)
    assert not into[:, 0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("acos", np.arccos), ("asin", np.arcsin), ("atan", np.arctan), ("log", np.log), ("tan", np.tan)],
)
def test_functions_are_numpys_and_their_derivatives_right(
    registered: Registered, name: str, theirs: Any, dtype: Any
) -> None:
    x = numbers(1001, dtype=dtype).abs() % 0.9 + 0.01
    function, in_place = getattr(torch, name), getattr(torch.Tensor, f"{name}_")
    wanted = function(x)
    replace_functions(registered)
    assert np.array_equal(function(x).numpy(), theirs(x.numpy()))
    assert torch.equal(in_place(x.clone()), function(x))
    assert torch.equal(function(x, out=torch.empty_like(x)), function(x))
    torch.testing.assert_close(function(x), wanted)
    assert torch.autograd.gradgradcheck(function, [x[:4].double().requires_grad_()])


@pytest.mark.parametrize("name", ["sqrt", "tan"])
def test_a_function_into_memory_that_it_reads_in_part_is_refused_as_by_torch(registered: Registered, name: str) -> None:
    x, function = numbers(100).abs() % 0.9, getattr(torch, name)
    replace_functions(registered)
    exact, halves, whole, view = function(x), x.clone(), x.clone(), x.clone()
    with pytest.raises(RuntimeError, match=r"single memory location|overlap"):
        function(halves[:8], out=halves[1:9])
    assert torch.equal(halves, x)
    function(halves[:50], out=halves[50:])
    assert torch.equal(halves, torch.cat([x[:50], exact[:50]]))
    function(whole, out=whole)
    function(view[:], out=view[:])
    assert torch.equal(whole, exact)
    assert torch.equal(view, exact)


def test_a_logarithm_of_nothing_is_said_as_torch_says_it(registered: Registered) -> None:
    replace_functions(registered)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.tensor([0.0, -1.0]).log().tolist()[0] == -math.inf


def test_square_roots_of_what_has_none_are_torchs(registered: Registered) -> None:
    odd = torch.tensor([-1.0, -0.0, 0.0, math.inf, -math.inf, math.nan, 1e-45])
    wanted = odd.sqrt()
    replace_functions(registered)
    found = odd.sqrt()
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.signbit()[1:4], wanted.signbit()[1:4])
    assert torch.equal(found.nan_to_num(7), wanted.nan_to_num(7))
    assert torch.tensor(4.0).sqrt().shape == ()
    assert torch.empty(0).sqrt().shape == (0,)


def test_derivatives_of_the_square_root_are_right(registered: Registered) -> None:
    replace_functions(registered)
    x = (numbers(5, dtype=torch.float64).abs() + 0.5).requires_grad_()
    for function in (torch.sqrt, lambda value: value**0.5):
        assert torch.autograd.gradcheck(function, [x])
        assert torch.autograd.gradgradcheck(function, [x])


LSTMS: list[dict[str, Any]] = [
    {}, {"bias": False}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 2, "dropout": 0.3}, {"proj_size": 3},
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*(TF32|LSTM with projections)")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("options", LSTMS, ids=str)
def test_an_lstm_takes_the_steps_that_torch_takes_without_onednn(
    registered: Registered, options: dict[str, Any], packed: bool
) -> None:
    torch.manual_seed(3)
    network = torch.nn.LSTM(4, 5, **options)
    source: Any = numbers(6, 3, 4)
    if packed:
        source = torch.nn.utils.rnn.pack_padded_sequence(source, [6, 4, 2])

    def train() -> list[Any]:
        torch.manual_seed(4)
        network.zero_grad()
        output, (hidden, cell) = network(source)
        values = output.data if packed else output
        (values.square().sum() + hidden.sum() + cell.sum()).backward()
        return [values, hidden, cell, *(parameter.grad.clone() for parameter in network.parameters())]

    with torch.backends.mkldnn.flags(enabled=False):
        wanted = train()
    replace_layers(registered)
    assert all(torch.equal(one, other) for one, other in zip(train(), wanted, strict=True))
    with torch.inference_mode():
        torch.manual_seed(4)
        output = network(source)[0]
    assert torch.equal(output.data if packed else output, wanted[0])


def test_attention_without_a_mask_is_the_mathematical_form_to_the_bit(registered: Registered) -> None:
    attend, mathematical = (
        torch.nn.functional.scaled_dot_product_attention,
        torch.ops.aten._scaled_dot_product_attention_math,
    )
    leaves = [numbers(2, 3, 9, 8, seed=seed).requires_grad_() for seed in range(3)]
    replace_products(registered)
    replace_attention(registered)
    for call in ({}, {"scale": 0.3}):
        found, wanted = attend(*leaves, **call), mathematical(*leaves, **call)[0]
        assert torch.equal(found, wanted)
        for mine, other in zip(
            torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(wanted.sum(), leaves), strict=True
        ):
            assert torch.equal(mine, other)


def test_attention_over_no_numbers_at_all_is_torchs(registered: Registered) -> None:
    attend = torch.nn.functional.scaled_dot_product_attention
    nothing = torch.ones(2, 3, 0), torch.ones(2, 3, 0), torch.ones(2, 3, 4)
    wanted = attend(*nothing)
    replace_attention(registered)
    assert torch.equal(attend(*nothing), wanted)


def test_attention_is_torchs_mathematical_form(registered: Registered) -> None:
    attend = torch.nn.functional.scaled_dot_product_attention
    query, key, value = (numbers(2, 3, 9, 8, seed=seed, dtype=torch.float64) for seed in range(3))
    mask = numbers(9, 9, seed=5) > 0
    mask[:, 0] = True
    calls: list[dict[str, Any]] = [
        {}, {"is_causal": True}, {"attn_mask": mask}, {"attn_mask": numbers(9, 9, dtype=torch.float64)}, {"scale": 0.3}
    ]  # fmt: skip
    wanted = [attend(query, key, value, **call) for call in calls]
    replace_attention(registered)
    for call, before in zip(calls, wanted, strict=True):
        torch.testing.assert_close(attend(query, key, value, **call), before)
    leaves = [numbers(1, 1, 3, 4, seed=seed, dtype=torch.float64).requires_grad_() for seed in range(3)]
    assert torch.autograd.gradcheck(attend, leaves)
    with pytest.raises(RuntimeError):
        attend(query, key, value, attn_mask=mask, is_causal=True)
    assert attend(query, key[:, :1], value[:, :1], enable_gqa=True).shape == query.shape


def test_long_sequences_keep_the_kernel_that_never_holds_all_weights(registered: Registered) -> None:
    replace_attention(registered)
    length = math.isqrt(LARGEST) + 1
    long = numbers(1, 1, length, 1).requires_grad_()
    attend = torch.nn.functional.scaled_dot_product_attention
    assert "FlashAttention" in type(attend(long, long, long).grad_fn).__name__
    short = long[:, :, :64]
    assert "FlashAttention" not in type(attend(short, short, short).grad_fn).__name__


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_convolutions_of_low_precision_are_those_of_float32_rounded_once(registered: Registered, dtype: Any) -> None:
    image, weight, bias = numbers(2, 3, 8, 8, dtype=dtype), numbers(4, 3, 3, 3, dtype=dtype), numbers(4, dtype=dtype)
    convolve = torch.nn.functional.conv2d
    replace_convolutions(registered)
    assert torch.equal(convolve(image, weight, bias), convolve(image.float(), weight.float(), bias.float()).to(dtype))
    gradients = []
    for kind in (dtype, torch.float32):
        leaves = [one.to(kind, copy=True).requires_grad_() for one in (image, weight, bias)]
        convolve(*leaves).backward(torch.ones(2, 4, 6, 6, dtype=kind))
        gradients.append([leaf.grad.to(dtype) for leaf in leaves])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_torchs_own_kernels_are_back_once_ours_are_withdrawn() -> None:
    made = Registered(torch)
    before = torch._C._dispatch_dump("aten::mm")
    replace_products(made)
    assert made.changed() == []
    assert torch._C._dispatch_dump("aten::mm") != before
    made.withdraw()
    assert torch._C._dispatch_dump("aten::mm") == before


def test_a_kernel_that_someone_else_registers_is_named(registered: Registered) -> None:
    replace_products(registered)
    library = torch.library.Library("aten", "IMPL", "CPU")
    library.impl("bmm", lambda self, mat2: self, "CPU")
    try:
        assert registered.changed() == ["aten::bmm"]
    finally:
        library._destroy()
    assert registered.changed() == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("upper", [False, True])
def test_choleskys_factor_is_numpys_in_every_overload(registered: Registered, dtype: Any, upper: bool) -> None:
    root = numbers(3, 17, 17, dtype=dtype)
    matrices = root @ root.mT + torch.eye(17, dtype=dtype)
    read = matrices.triu() if upper else matrices.tril()
    own = torch.linalg.cholesky(matrices, upper=upper)
    replace_cholesky(registered)
    factor = torch.linalg.cholesky(read, upper=upper)
    assert factor.stride() == own.stride()
    torch.testing.assert_close(factor, own)
    lower = np.linalg.cholesky((read.mT if upper else read).numpy())
    assert np.array_equal((factor.mT if upper else factor).numpy(), lower)
    out = torch.empty(0, dtype=dtype)
    assert torch.equal(torch.linalg.cholesky(read, upper=upper, out=out), factor)
    assert torch.equal(torch.cholesky(read, upper), factor)
    assert torch.equal(torch.cholesky(read, upper, out=out), factor)
    assert torch.equal(torch.linalg.cholesky_ex(read, upper=upper).info, torch.zeros(3, dtype=torch.int32))


def test_choleskys_derivatives_are_right_and_its_refusals_torchs(registered: Registered) -> None:
    root = numbers(4, 4, dtype=torch.float64)
    good = root @ root.mT + torch.eye(4, dtype=torch.float64)
    calls = [
        lambda: torch.linalg.cholesky(-good),
        lambda: torch.cholesky(-good),
        lambda: torch.linalg.cholesky(good[:, :3]),
        lambda: torch.linalg.cholesky(good[0]),
        lambda: torch.linalg.cholesky(good.to(torch.int64)),
        lambda: torch.linalg.cholesky_ex(-good).info,
        lambda: torch.linalg.cholesky(torch.empty(0, 0)),
    ]
    wanted = [outcome(call) for call in calls]
    replace_cholesky(registered)
    assert [outcome(call) for call in calls] == wanted
    assert torch.autograd.gradcheck(lambda one: torch.linalg.cholesky(one @ one.mT + 4), root.requires_grad_())
