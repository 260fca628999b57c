"""Which operators the sweep ought to reach: those that torch has a kernel of, for plain tensors on a CPU."""

import re
from importlib.resources import files

import torch

EXCEPTIONS = {
    "aten::max_unpool2d": "torch itself refuses it where algorithms must be deterministic",
    "aten::max_unpool3d": "as max_unpool2d",
    "aten::mkldnn_rnn_layer": "ours: it is taken apart above autograd",
    "aten::mkldnn_rnn_layer_backward": "nothing calls it, as mkldnn_rnn_layer is taken apart",
}
"""Differentiable operators with such a kernel that no part of the sweep calls, and why."""


def own_kernels() -> set[str]:
    """By name. What has none there is composed of operators that are looked at one by one, or is another device's."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    overloads = torch._C._dispatch_get_all_op_names()
    return {name.partition(".")[0] for name in overloads if name.startswith("aten::") and has(name, "CPU")}


def differentiable() -> set[str]:
    """The operators that torch has derivatives of, by name: torchgen's derivatives.yaml."""
    text = files("torchgen").joinpath("packaged/autograd/derivatives.yaml").read_text(encoding="utf-8")
    return {f"aten::{name}" for name in re.findall(r"^- name: (\w+)", text, re.MULTILINE)}
