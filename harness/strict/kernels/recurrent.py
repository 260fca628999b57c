"""LSTM layers step by step: oneDNN's own layer chooses its kernels by the processor, whatever its caps say."""

from typing import Any

from harness.strict.kernels.library import Registered


def replace_layers(registered: Registered) -> None:
    """Decompose `aten::mkldnn_rnn_layer`, the one operator through which torch reaches oneDNN's layer.

    It is decomposed above autograd, so torch differentiates the steps themselves.
    """
    for key in ("CPU", "AutogradCPU"):
        registered.replace("aten::mkldnn_rnn_layer", make_layer(registered.torch), key)


def make_layer(torch: Any) -> Any:
    """One layer in one direction: (output, hidden, cell, nothing), in the steps that torch takes without oneDNN."""
    linear = torch.nn.functional.linear

    def layer(
        source: Any, weight0: Any, weight1: Any, weight2: Any, weight3: Any, hx: Any, cx: Any, reverse: bool, *rest: Any
    ) -> tuple[Any, Any, Any, Any]:  # fmt: skip
        has_biases = rest[4]  # after batch_sizes, mode, hidden_size, num_layers
        into, back = (weight2, weight3) if has_biases else (None, None)
        hidden, cell = (state.reshape(source.shape[1], -1) for state in (hx, cx))
        steps = linear(source, weight0, into).unbind(0)
        outputs = []
        for step in reversed(steps) if reverse else steps:
            gates = linear(hidden, weight1, back).add_(step).chunk(4, 1)
            enter, forget, leave = gates[0].sigmoid(), gates[1].sigmoid(), gates[3].sigmoid()
            cell = (forget * cell).add_(enter * gates[2].tanh())
            hidden = leave * cell.tanh()
            outputs.append(hidden)
        output = torch.stack(outputs[::-1] if reverse else outputs)
        return output, hidden.reshape(hx.shape), cell.reshape(cx.shape), source.new_empty(0)

    return layer
