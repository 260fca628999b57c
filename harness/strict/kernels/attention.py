"""Scaled dot-product attention from products and a softmax, where its matrix of weights fits into memory with ease.

torch's own CPU kernel calls MKL for tiles of it, on its common path, which is slow; that path's bits are the same on
every processor too, so long sequences keep the kernel that never holds the whole matrix.
"""

import math
from typing import Any

from harness.strict.kernels.library import Registered

LARGEST = 2**26
"""Weights (batch · heads · queries · keys) up to which the whole matrix is computed: 256 MiB in float32."""

_OPERATOR = "aten::scaled_dot_product_attention"


def replace_attention(registered: Registered) -> None:
    """Choose torch's mathematical form of attention for all but long sequences; it is differentiated by torch."""
    torch = registered.torch
    original = registered.original(_OPERATOR)
    low = (torch.bfloat16, torch.float16)
    exact = (torch.float32, torch.float64)

    def unmasked(query: Any, key: Any, value: Any, scale: float) -> Any:
        """The mathematical form without its search for rows that a mask hides whole: the same bits in less time."""
        factor = math.sqrt(scale)
        weights = torch.matmul(query * factor, key.transpose(-2, -1) * factor)
        return torch.matmul(torch.softmax(weights, -1), value)

    def attention(
        query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
        *, scale: Any = None, enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        weights = query.numel() // max(query.shape[-1], 1) * key.shape[-2] if key.dim() >= 2 <= query.dim() else 0
        if weights > LARGEST and query.dtype not in low:
            return original(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )  # fmt: skip
        plain = attn_mask is None and not (dropout_p or is_causal or enable_gqa)
        if plain and weights and query.dtype in exact:
            factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
            if factor > 0:
                return unmasked(query, key, value, factor)
        mask = attn_mask
        if mask is not None and mask.dtype is torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
        return torch.ops.aten._scaled_dot_product_attention_math(
            query, key, value, mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
        )[0]

    for name in ("CPU", "AutogradCPU"):
        registered.replace(_OPERATOR, attention, name)
