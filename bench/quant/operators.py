"""The operators of a graph that multiply, and what each costs.

With N the output elements of one image, a convolution of weight (C_out, C_in / groups, k, k) costs
N C_in k^2 / groups multiply-accumulates (MACs), a linear layer N C_in, a matrix product N times
its inner size, and attention of L queries on S keys L S (E + E_v) for each head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

aten = torch.ops.aten
CONVOLUTIONS = (aten.conv2d.default, aten.conv2d.padding)
QUANTIZABLE = (*CONVOLUTIONS, aten.linear.default)
OTHER_LAYERS = (
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
)
TRANSPOSED = (
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
)
PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.mm.default)
SUMMED_PRODUCTS = (aten.baddbmm.default, aten.addmm.default)
ATTENTION = (aten.scaled_dot_product_attention.default,)
COUNTED = (
    *QUANTIZABLE,
    *OTHER_LAYERS,
    *TRANSPOSED,
    *PRODUCTS,
    *SUMMED_PRODUCTS,
    *ATTENTION,
    aten.einsum.default,
)


def value_of(node: object) -> Tensor:
    """What stands for the value of a node: its shape, type and device."""
    assert isinstance(node, Node)
    return node.meta["val"]


def shape_of(node: object) -> torch.Size:
    """The shape of the value of a node."""
    return value_of(node).shape


def batch_of(node: Node) -> int:
    """The number of images of the graph that a node is of."""
    return next(n for n in node.graph.nodes if n.op == "placeholder").meta["val"].shape[0]


def multiplications(node: Node) -> int:
    """Multiply-accumulates of a node of COUNTED for the whole batch.

    Raises:
        RuntimeError: an einsum whose operations cannot be counted.
    """
    outputs = value_of(node).numel()
    if node.target in (*QUANTIZABLE, *OTHER_LAYERS):
        return outputs * math.prod(shape_of(node.args[1])[1:])
    if node.target in TRANSPOSED:
        return value_of(node.args[0]).numel() * math.prod(shape_of(node.args[1])[1:])
    if node.target in PRODUCTS:
        return outputs * shape_of(node.args[0])[-1]
    if node.target in SUMMED_PRODUCTS:
        return outputs * shape_of(node.args[1])[-1]
    if node.target in ATTENTION:
        keys, depth = shape_of(node.args[1])[-2:]
        return outputs // shape_of(node.args[2])[-1] * keys * (depth + shape_of(node.args[2])[-1])
    return _einsum_macs(str(node.args[0]), node.args[1])


def _einsum_macs(equation: str, operands: Any) -> int:
    """Product of the sizes of all indices, exact for two operands."""
    sizes: dict[str, int] = {}
    inputs = equation.replace(" ", "").split("->")[0].split(",")
    if "." in equation or len(inputs) != 2:
        raise RuntimeError(f"cannot count the operations of einsum {equation!r}")
    for letters, operand in zip(inputs, operands, strict=True):
        sizes.update(zip(letters, shape_of(operand), strict=True))
    return math.prod(sizes.values())
