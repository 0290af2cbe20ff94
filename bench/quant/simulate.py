"""The float simulation of the quantized graph, bit for bit.

A quantize/dequantize pair on an activation is several passes over memory; one
`fake_quantize_per_tensor_affine` computes the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.quant.rewrite import Execution, Rewriter

FAKE_QUANTIZE = torch.fake_quantize_per_tensor_affine


class _Simulator(Rewriter):
    def pair(self, x: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
        if isinstance(x, Tensor) and not isinstance(scale, Node):
            return FAKE_QUANTIZE(x, scale, zero, low, high)
        return self.round(FAKE_QUANTIZE, x, scale, zero, low, high)


def simulate(graph: GraphModule) -> Execution:
    """Rewrite a quantized graph for execution in float; its output keeps every bit.

    Args:
        graph: from `quantize_graph`; it is not changed.
    """
    return _Simulator(graph).run()
