"""The bias of a layer in a quantized graph, as methods read and replace it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.quant.operators import CONVOLUTIONS
from bench.quant.weight_rows import constant


def bias_of(graph: GraphModule, node: Node, name: str) -> Tensor:
    """The bias of a layer, float32 (C_out,), zeros where it has none.

    Args:
        graph: that holds the constants.
        node: a layer's, with weights of its own.
        name: of the layer, for the message.

    Raises:
        RuntimeError: it computes its bias.
    """
    bias = node.args[2] if len(node.args) > 2 else None
    if bias is None:
        shape = node.meta["val"].shape
        axis = 1 if node.target in CONVOLUTIONS else -1
        return torch.zeros(shape[axis], device=node.meta["val"].device)
    if not isinstance(bias, Node) or bias.op != "get_attr":
        raise RuntimeError(f"layer {name} computes its bias, which cannot be changed")
    return constant(graph, bias).detach().float()


def set_bias(graph: GraphModule, node: Node, bias: Tensor) -> None:
    """Give a layer of a graph a bias of its own, float32 (C_out,), in the place of any other.

    The graph must be compiled anew (`recompile`) before it is called.
    """
    name = f"{node.name}_bias"
    graph.register_buffer(name, bias)
    with graph.graph.inserting_before(node):
        made = graph.graph.get_attr(name)
    x, weight, *rest = node.args
    node.args = (x, weight, made, *rest[1:])
