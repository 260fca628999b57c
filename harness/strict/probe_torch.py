"""torch's part of the probe: operators, a backward pass and optimizer steps on the CPU, in float32 and float64."""

from collections.abc import Callable, Iterator
from typing import Any

Numbers = Callable[[int, int], Any]


def kernels(uniform: Numbers, heavy_tailed: Numbers) -> Iterator[tuple[str, bytes]]:
    """Name and result's bytes of each kernel; the global generators and switches are left as they were."""
    import torch

    for dtype, bits in ((torch.float32, "32"), (torch.float64, "64")):

        def tensor(numbers: Any, dtype: Any = dtype) -> Any:
            return torch.frombuffer(numbers, dtype=torch.float64).to(device="cpu", dtype=dtype)

        flat = tensor(heavy_tailed(8192, 9))
        small = tensor(uniform(8192, 8)) * 8 - 4
        with torch.no_grad():
            for part in (_operators(torch, small, flat), _layers(torch, small)):
                yield from ((f"{name}{bits}", _bytes(result)) for name, result in part)
        with torch.enable_grad():
            yield from ((f"{name}{bits}", _bytes(result)) for name, result in _steps(torch, small))
    # Weights start from torch's own generator, whose normal numbers go through vectorised logarithms and cosines.
    generator = torch.Generator(device="cpu").manual_seed(1)
    yield "randn", _bytes(torch.randn(1024, generator=generator, dtype=torch.float32, device="cpu"))


def _bytes(tensor: Any) -> bytes:
    data: bytes = tensor.detach().contiguous().numpy().tobytes()
    return data


def _operators(torch: Any, x: Any, heavy: Any) -> Iterator[tuple[str, Any]]:
    a, b = x[: 48 * 64].reshape(48, 64), x[-64 * 56 :].reshape(64, 56)
    positive = x.abs() + 2.0**-20
    yield "mm", a @ b
    yield "addmm", torch.addmm(b[0], a, b)
    yield "bmm", torch.bmm(x[:4096].reshape(4, 32, 32), x[4096:].reshape(4, 32, 32))
    for name in ("exp", "sin", "cos", "tanh", "sigmoid", "erf", "expm1"):
        yield name, getattr(torch, name)(x)
    for name in ("log", "sqrt", "rsqrt", "log1p", "reciprocal"):
        yield name, getattr(torch, name)(positive)
    yield "pow", torch.pow(positive, 1.7)
    yield "sum", heavy.sum()
    yield "mean_axis0", heavy.reshape(64, 128).mean(dim=0)
    yield "var_axis1", heavy.reshape(64, 128).var(dim=1)
    yield "norm", torch.linalg.vector_norm(heavy)
    yield "cumsum", torch.cumsum(heavy, dim=0)


def _layers(torch: Any, x: Any) -> Iterator[tuple[str, Any]]:
    functional = torch.nn.functional
    images = x[:4096].reshape(2, 8, 16, 16)
    weights = x[:576].reshape(8, 8, 3, 3)
    yield "conv1d", functional.conv1d(x.reshape(4, 16, 128), x[:768].reshape(16, 16, 3))
    yield "conv2d", functional.conv2d(images, weights, padding=1)
    yield "softmax", torch.softmax(x.reshape(64, 128), dim=1)
    yield "layer_norm", functional.layer_norm(x.reshape(64, 128), (128,))
    yield "batch_norm", functional.batch_norm(images, None, None, training=True)
    yield "gelu", functional.gelu(x)
    query = x.reshape(1, 4, 64, 32)
    yield "attention", functional.scaled_dot_product_attention(query, query, query)


def _steps(torch: Any, x: Any) -> Iterator[tuple[str, Any]]:
    """One backward pass through two layers, then one step of SGD's and of Adam's arithmetic on its gradient."""
    features = x[: 32 * 24].reshape(32, 24)
    first = x[1000 : 1000 + 24 * 16].reshape(24, 16).clone().requires_grad_()
    second = x[2000:2016].reshape(16, 1).clone().requires_grad_()
    loss = ((torch.tanh(features @ first) @ second).squeeze(1) - features[:, 0]).square().mean()
    gradient, head = torch.autograd.grad(loss, [first, second])
    yield "loss", loss
    yield "gradient", gradient
    yield "head_gradient", head
    with torch.no_grad():
        moment = torch.zeros_like(gradient).lerp_(gradient, 0.1)
        square = torch.zeros_like(gradient).mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        yield "adam", first.detach().clone().addcdiv_(moment, square.sqrt().div_(0.0316).add_(1e-8), value=-0.01)
        yield "sgd", first.detach().clone().add_(gradient, alpha=-0.01)
