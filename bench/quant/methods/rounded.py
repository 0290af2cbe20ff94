"""The layers of a quantized graph whose weights are rounded, as methods see and change them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.scheme import FLOAT_BITS
from bench.quant.graph import constant, layers_of
from bench.quant.layers import Layer, exported, weight_of


@dataclass(frozen=True)
class RoundedLayer:
    """One execution of a convolution or linear layer with rounded weights.

    Attributes:
        layer: what it is, and its bits.
        node: that computes it in the quantized graph; its arguments are (x, weights, bias ...).
        weight: in full precision, float32, output channels first.
    """

    layer: Layer
    node: Node
    weight: Tensor


def rounded_layers(graph: GraphModule, denoiser: Denoiser) -> list[RoundedLayer]:
    """The layers with rounded weights in order of execution, found in the graph, not by names.

    Args:
        graph: from `quantize_graph`.
        denoiser: that the graph was made of.
    """
    nodes = {node.name: node for node in graph.graph.nodes}
    x = next(node for node in graph.graph.nodes if node.op == "placeholder")
    full = exported(denoiser, len(x.meta["val"]))
    weights = {node.name: weight_of(node) for node in full.graph.nodes}
    rounded = []
    for layer in layers_of(graph):
        weight = weights[layer.node]
        if weight is not None and layer.weight_bits not in FLOAT_BITS:
            rounded.append(RoundedLayer(layer, nodes[layer.node], constant(full, weight)))
    return rounded


def limits(rounded: RoundedLayer) -> tuple[int, int]:
    """The least and the largest code of a layer's weights."""
    half = 2 ** (rounded.layer.weight_bits - 1)
    return -half, half - 1


def codes_of(rounded: RoundedLayer, scale: Tensor) -> Tensor:
    """The weights as whole numbers of steps, float32 of their shape, clamped to the bits.

    Args:
        rounded: the layer.
        scale: step of each output channel, above 0, (C_out,).
    """
    steps = scale.view(-1, *(1,) * (rounded.weight.ndim - 1))
    return (rounded.weight / steps).round().clamp(*limits(rounded))


def round_weights(graph: GraphModule, rounded: RoundedLayer, scale: Tensor) -> None:
    """Round the weights of a layer anew.

    Args:
        graph: is changed.
        rounded: one of its layers.
        scale: step of each output channel, above 0, (C_out,).
    """
    codes, steps = (constant(graph, node) for node in rounded.node.args[1].args[:2])  # type: ignore[union-attr, arg-type]
    steps.copy_(scale)
    codes.copy_(codes_of(rounded, steps.float()))
