"""The layers of a quantized graph whose weights are rounded, as methods see and change them.

The weights of a layer are rounded row by row: all weights of a row share a step and a zero point.
A row is an output channel, or what an output channel has of a group of input channels. What a
method needs of both is the `Grid`: which numbers each weight may become.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.scheme import FLOAT_BITS, Scheme
from bench.core.tables import ROUNDINGS
from bench.quant import weight_rows
from bench.quant.graph import float_of, layers_of
from bench.quant.layers import Layer, weight_of

# Methods of bench that choose which weights share a step, and those that choose the steps; those
# of ROUNDINGS choose the codes. They act in this order.
GROUPS = ("g16", "g32", "g64", "g128")
RANGES = ("asymmetric", "mse", "percentile")


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


@dataclass(frozen=True)
class Grid:
    """The numbers that the weights of a layer may become: whole numbers of steps.

    Attributes:
        steps: of each weight, above 0, float32 (C_out, K), or (C_out, 1) where all K are alike.
        low, high: least and largest whole number, of a shape that goes with that of the steps.
    """

    steps: Tensor
    low: Tensor
    high: Tensor

    def nearest(self, weight: Tensor) -> Tensor:
        """Weights (C_out, ...) as whole numbers of steps, float32 (C_out, K)."""
        return self.within((weight.flatten(1) / self.steps).round())

    def within(self, numbers: Tensor) -> Tensor:
        """Numbers of steps (C_out, K), the nearest of those that there are."""
        return numbers.clamp(self.low, self.high)

    def part(self, channels: slice) -> Grid:
        """Of some output channels."""
        values = (self.steps, self.low, self.high)
        return Grid(*(value[channels] if len(value) > 1 else value for value in values))


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
            exact = weight_rows.constant(full, weight)
            rounded.append(RoundedLayer(layer, nodes[layer.node], exact))
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


def rows_of(graph: GraphModule, rounded: RoundedLayer) -> Tensor:
    """The weights in full precision, all that share a step in a row, float32 (R, K / groups)."""
    codes, _, _ = weight_rows.constants(graph, rounded.node)
    return rounded.weight.reshape(len(codes), -1)


def grid_of(graph: GraphModule, rounded: RoundedLayer) -> Grid:
    """Which numbers the weights of a layer may become in a graph."""
    codes, steps, zeros = weight_rows.constants(graph, rounded.node)
    low, high = limits(rounded)
    channels, wide = len(rounded.weight), rounded.weight[0].numel()
    groups = len(codes) // channels
    bounds = (low - zeros.float(), high - zeros.float())
    of_rows = (t.view(channels, groups) for t in (steps.float(), *bounds))
    if groups == 1:
        return Grid(*of_rows)
    return Grid(*(t.repeat_interleave(wide // groups, 1) for t in of_rows))


def affine_rows(rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Steps and zero points of rows whose range reaches from the least to the largest weight, and
    always holds 0.

    Args:
        rows: weights, float32 (R, K).
        bits: of their codes.

    Returns:
        Steps, float32 (R,), and zero points, whole numbers (R,).
    """
    half = 2 ** (bits - 1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    steps = ((high - low) / (2 * half - 1)).clamp(min=torch.finfo(torch.float32).tiny * 2**10)
    return steps, (-half - low / steps).round().clamp(-half, half - 1)


def numbers_of(graph: GraphModule, rounded: RoundedLayer) -> Tensor:
    """The weights that a layer has in a graph, in whole numbers of steps, float32 (C_out, K)."""
    codes, _, zeros = weight_rows.constants(graph, rounded.node)
    numbers = codes.flatten(1).float() - zeros.float()[:, None]
    return numbers.reshape(len(rounded.weight), -1)


def round_rows(
    graph: GraphModule, rounded: RoundedLayer, steps: Tensor, zeros: Tensor | None = None
) -> None:
    """Round the weights of a layer to nearest with other steps.

    Args:
        graph: is changed.
        rounded: one of its layers.
        steps: of each row of `rows_of`, above 0, (R,).
        zeros: the code of 0 in each row, whole numbers within the `limits`, (R,); without them 0.
    """
    _, kept, kept_zeros = weight_rows.constants(graph, rounded.node)
    if steps.shape != kept.shape:
        raise RuntimeError(
            f"layer {rounded.layer.name} has {len(kept)} rows of weights, not {list(steps.shape)}"
        )
    kept.copy_(steps)
    kept_zeros.copy_(torch.zeros_like(kept_zeros) if zeros is None else zeros)
    set_codes(graph, rounded, grid_of(graph, rounded).nearest(rounded.weight))


def set_codes(graph: GraphModule, rounded: RoundedLayer, numbers: Tensor) -> None:
    """Give the weights of a layer other values, with the steps that they have.

    Args:
        graph: is changed.
        rounded: one of its layers.
        numbers: whole numbers of steps within the layer's `Grid`, as many as it has weights.
    """
    codes, _, zeros = weight_rows.constants(graph, rounded.node)
    codes.copy_((numbers.reshape(len(codes), -1) + zeros[:, None]).view_as(codes))


def out_of_order(scheme: Scheme, name: str) -> str | None:
    """The reason why a method that chooses codes has nothing to do or is undone, or None.

    Args:
        scheme: that has it.
        name: of the method.
    """
    if scheme.weight_bits in FLOAT_BITS:
        return "the weights stay in float, so they are not rounded"
    given = names(scheme)
    if others := [other for other in ROUNDINGS if other != name and other in given]:
        return f"{others[0]} rounds the same weights: name one of them"
    if after := names_after(scheme, name):
        return f"{after} changes ranges after it: name {after} before {name}"
    return None


def names_after(scheme: Scheme, name: str) -> str:
    """The first method of a scheme behind one that chooses steps or codes of weights; "" for
    none."""
    given = names(scheme)
    behind = given[given.index(name) + 1 :] if name in given else []
    return next((each for each in behind if each in (*GROUPS, *RANGES, *ROUNDINGS)), "")


def names(scheme: Scheme) -> list[str]:
    """The methods of a scheme without their arguments."""
    return [method.partition(":")[0] for method in scheme.methods]


def later(scheme: Scheme, name: str) -> str:
    """The method of a scheme that stands before one, though its choice rests on what that one
    changes; "" for none."""
    given, order = names(scheme), (*GROUPS, *RANGES, *ROUNDINGS)
    place = given.index(name)
    return next((each for each in given[:place] if each in order[_rank(name) :]), "")


def _rank(name: str) -> int:
    """Where those begin in the order of methods that rest on what a method changes."""
    if name in GROUPS:
        return len(GROUPS)
    return len(GROUPS) + 1
