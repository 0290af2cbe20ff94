"""What a quantized graph does to each layer, read from its constants.

So that a layer can be quantized alone, and the error of its weights looked at, with the very
numbers that simulation and kernels use.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from bench.core.protocols import Constants
from bench.quant.graph import DEQUANTIZES, layers_of, ranges_of
from bench.quant.methods.rounded import rounded_layers
from bench.quant.weight_rows import dequantized, rows_node


@torch.no_grad()
def constants(graph: GraphModule) -> list[Constants]:
    """The constants of all layers in order of their first execution.

    Args:
        graph: from `quantize_graph`.

    Raises:
        RuntimeError: ranges switch with the timestep.
    """
    nodes = {node.name: node for node in graph.graph.nodes}
    exact = {each.layer.node: each.weight for each in rounded_layers(graph)}
    by_layer: dict[str, Constants] = {}
    for layer in layers_of(graph):
        x, weight = nodes[layer.node].args[:2]
        error = None
        if rows_node(weight) is not None:
            error = dequantized(graph, nodes[layer.node]) - exact[layer.node]
        before = by_layer.get(layer.name)
        ranges, macs = (before.ranges, before.macs) if before else ((), 0)
        by_layer[layer.name] = Constants(
            layer.name, error, (*ranges, _range(graph, x)), macs + layer.macs
        )
    return list(by_layer.values())


def _range(graph: GraphModule, x: object) -> tuple[float, int, int, int] | None:
    if not isinstance(x, Node) or x.target not in DEQUANTIZES:
        return None
    ranges, (low, high) = ranges_of(graph, x).tolist(), x.args[3:5]
    if len(ranges) > 1:
        raise RuntimeError("a layer whose range switches with the timestep has no single one")
    ((scale, zero),) = ranges
    return float(scale), int(zero), int(low), int(high)  # type: ignore[arg-type]
