"""The layers of a quantized graph whose weights are rounded, as methods see and change them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.graph import constant, float_of, layers_of
from bench.quant.layers import Layer, weight_of

# Methods of bench that choose the codes of weights, and those that choose their steps.
ROUNDINGS, RANGES = ("gptq", "adaround"), ("mse", "percentile")


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


def rounded_layers(graph: GraphModule) -> list[RoundedLayer]:
    """The layers with rounded weights in order of execution, found in the graph, not by names.

    Args:
        graph: from `quantize_graph`.
    """
    nodes, full = {node.name: node for node in graph.graph.nodes}, float_of(graph)
    weights = {node.name: weight_of(node) for node in full.graph.nodes}
    rounded = []
    for layer in layers_of(graph):
        weight = weights[layer.node]
        if weight is not None and layer.weight_bits not in FLOAT_BITS:
            rounded.append(RoundedLayer(layer, nodes[layer.node], constant(full, weight)))
    return rounded


def by_name(rounded: Iterable[RoundedLayer]) -> dict[str, list[RoundedLayer]]:
    """All executions of each layer, by its name, in order of the first ones."""
    layers: dict[str, list[RoundedLayer]] = {}
    for each in rounded:
        layers.setdefault(each.layer.name, []).append(each)
    return layers


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
    _, steps = _constants(graph, rounded)
    steps.copy_(scale)
    set_codes(graph, rounded, codes_of(rounded, steps.float()))


def set_codes(graph: GraphModule, rounded: RoundedLayer, codes: Tensor) -> None:
    """Give the weights of a layer other codes, with the steps that they have.

    Args:
        graph: is changed.
        rounded: one of its layers.
        codes: whole numbers within the `limits`, of the shape of the weights.
    """
    kept, _ = _constants(graph, rounded)
    kept.copy_(codes)


def scale_of(graph: GraphModule, rounded: RoundedLayer) -> Tensor:
    """The step of each output channel of a layer in a graph, float32 (C_out,)."""
    _, steps = _constants(graph, rounded)
    return steps.float()


def _constants(graph: GraphModule, rounded: RoundedLayer) -> tuple[Tensor, Tensor]:
    """The codes and the steps of a layer."""
    codes, steps = (constant(graph, node) for node in rounded.node.args[1].args[:2])  # type: ignore[union-attr, arg-type]
    return codes, steps


def out_of_order(scheme: Scheme, name: str) -> str | None:
    """The reason why a method that chooses codes has nothing to do or is undone, or None.

    Args:
        scheme: that has it.
        name: of the method.
    """
    if scheme.weight_bits in FLOAT_BITS:
        return "the weights stay in float, so they are not rounded"
    names = [method.partition(":")[0] for method in scheme.methods]
    if others := [other for other in ROUNDINGS if other != name and other in names]:
        return f"{others[0]} rounds the same weights: name one of them"
    later = [other for other in names[names.index(name) :] if other in RANGES]
    if later:
        return f"{later[0]} changes ranges after it: name {later[0]} before {name}"
    return None
