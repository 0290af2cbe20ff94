"""The float simulation of the quantized graph, bit for bit.

A quantize/dequantize pair on an activation is several passes over memory. Torch's
`fake_quantize_per_tensor_affine` is one, but on a CPU it takes each element by itself, which makes
a third of all the time of a simulation; four vectorized operations compute the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.quant.rewrite import Execution, Rewriter


def fake_quantized(
    x: Tensor, scale: float | Tensor, zero: int | Tensor, low: int, high: int
) -> Tensor:
    """What stands for x after rounding to codes and back, as
    `torch.fake_quantize_per_tensor_affine` gives it.

    Gradients go through unchanged between the lowest and the highest code. NaN stays NaN, where
    torch's function returns the lowest code on a CPU.

    Args:
        x: float32, any shape.
        scale: the step, a number or a float32 tensor of no dimension.
        zero: the code of 0, a number or an integer tensor of no dimension.
        low: the lowest code.
        high: the highest code.
    """
    if x.device.type != "cpu" or (torch.is_grad_enabled() and x.requires_grad):
        rounded: Tensor = torch.ops.aten.fake_quantize_per_tensor_affine(x, scale, zero, low, high)
        return rounded
    step, zero = torch.tensor(float(scale), dtype=torch.float32), int(zero)
    codes = torch.mul(x, step.reciprocal().item()).round_()
    return codes.clamp_(low - zero, high - zero).mul_(step.item())


class _Simulator(Rewriter):
    def pair(self, x: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
        if isinstance(x, Tensor) and not isinstance(scale, Node):
            return fake_quantized(x, scale, zero, low, high)
        return self.round(fake_quantized, x, scale, zero, low, high)


def simulate(graph: GraphModule) -> Execution:
    """Rewrite a quantized graph for execution in float; its output keeps every bit.

    Args:
        graph: from `quantize_graph`; it is not changed.
    """
    return _Simulator(graph).run()
