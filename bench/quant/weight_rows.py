"""How a quantized graph stores the weights of a layer: rows of codes, each with a step.

    weights = view(s_r (q_r - z_r), shape)        for each row r

A row is an output channel with all of its input channels, or with one of G groups of them that lie
side by side: codes (C_out G, C_in / G, ...) are dequantized row by row, as a channel is, and then
seen in the shape of the weights. Steps s are above 0, zero points z are codes, 0 where weights are
rounded symmetrically.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.system.quiet import quiet_import

with quiet_import():
    # It registers the operators of quantized graphs.
    import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401

DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_channel.default
VIEW = torch.ops.aten.view.default


def constant(graph: GraphModule, node: Node) -> Tensor:
    """The tensor that a node of a graph stands for; the node reads an attribute."""
    return operator.attrgetter(str(node.target))(graph)


def rows_node(weight: object) -> Node | None:
    """The node that dequantizes the rows behind a layer's weights, None where they are floats.

    Args:
        weight: the second argument of a layer.
    """
    if isinstance(weight, Node) and weight.target is VIEW:
        weight = weight.args[0]
    return weight if isinstance(weight, Node) and weight.target is DEQUANTIZE else None


def constants(graph: GraphModule, layer: Node) -> tuple[Tensor, Tensor, Tensor]:
    """Codes int8 (R, C_in / G, ...), steps (R,) and zero points (R,) of a layer's weights.

    Args:
        graph: that holds the constants.
        layer: a layer's node, with rounded weights.
    """
    rows = rows_node(layer.args[1])
    assert rows is not None
    codes, steps, zeros = (constant(graph, node) for node in rows.args[:3])  # type: ignore[arg-type]
    return codes, steps, zeros


def dequantized(graph: GraphModule, layer: Node) -> Tensor:
    """The weights of a layer as they are computed with, float32 in their shape.

    Args:
        graph: that holds the constants.
        layer: a layer's node, with rounded weights.
    """
    codes, steps, zeros = constants(graph, layer)
    tail = (-1, *(1,) * (codes.ndim - 1))
    values = (codes.float() - zeros.float().view(tail)) * steps.float().view(tail)
    weight: Any = layer.args[1]
    return values.view(weight.args[1]) if weight.target is VIEW else values


def insert(
    graph: GraphModule,
    layer: Node,
    tensors: tuple[Tensor, Tensor, Tensor],
    limits: tuple[int, int],
    shape: torch.Size,
) -> None:
    """Give a layer weights of rows.

    Args:
        graph: is changed, and must be compiled anew (`recompile`) before it is called.
        layer: a layer's node.
        tensors: codes, steps and zero points, as `constants` gives them.
        limits: the least and the largest code.
        shape: of the weights.
    """
    made = []
    x, _, *rest = layer.args
    with graph.graph.inserting_before(layer):
        for word, tensor in zip(("codes", "scale", "zeros"), tensors, strict=True):
            name = f"{layer.name}_{word}"
            # A buffer of this name belongs to what is replaced.
            graph.register_buffer(name, tensor)
            made.append(graph.graph.get_attr(name))
        weight = graph.graph.call_function(DEQUANTIZE, (*made, 0, *limits, torch.int8))
        if len(tensors[0]) != shape[0]:
            weight = graph.graph.call_function(VIEW, (weight, list(shape)))
    layer.args = (x, weight, *rest)


def regroup(graph: GraphModule, layer: Node, shape: torch.Size, groups: int) -> None:
    """Cut the rows of a layer into groups of input channels, each with the step that it had.

    Args:
        graph: is changed.
        layer: a layer's node whose rows are output channels.
        shape: of the weights.
        groups: number of groups, which divides their input channels.
    """
    codes, steps, zeros = constants(graph, layer)
    rows = rows_node(layer.args[1])
    assert rows is not None
    low, high = rows.args[4:6]
    cut = codes.reshape(len(codes) * groups, shape[1] // groups, *shape[2:]).clone()
    each = (cut, steps.repeat_interleave(groups), zeros.repeat_interleave(groups))
    insert(graph, layer, each, (low, high), shape)  # type: ignore[arg-type]
    graph.graph.eliminate_dead_code()
    graph.recompile()


def size(codes: Tensor, zeros: Tensor) -> int:
    """Bytes of what rows need beside their codes: a float32 step each, and a byte for the zero
    point of each where there are any.

    Args:
        codes: of all rows.
        zeros: their zero points.
    """
    return len(codes) * (5 if bool(zeros.any()) else 4)
