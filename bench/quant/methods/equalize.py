"""Cross-layer equalization: channels between two layers get the scale that suits both.

What a channel is multiplied by in one layer can be divided out in the next, wherever nothing in
between minds: with s_j > 0

    W_2 (W_1 x + b)  =  (W_2 diag(s)) (diag(s)^-1 (W_1 x + b)),    s_j = sqrt(r_1j / r_2j),

r_1j the largest weight of output channel j of the first layer and r_2j that of input channel j of
the second, after which both are alike (Nagel et al. 2019, arXiv 1906.04721, section 4.1). Views,
rectifiers and attention, whose output is a mean of values, let scales pass; a normalization or
another activation function does not, but the weights of a normalization may be the first layer
themselves. The pairs are found in the graph by following the channels, not by names. Of a UNet
they are, in each attention, the normalization with queries, keys and values, and the values with
the output; its residual blocks normalize before every convolution and have none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods import float_graph

aten = torch.ops.aten
# Where weights and bias of a normalization are among its arguments, and the dimension they scale.
NORMALIZATIONS = {
    aten.group_norm.default: (2, 3, 1),
    aten.layer_norm.default: (2, 3, -1),
}
BOUND = 1e3


class Equalize:
    """Evens out the channels between two layers in both of them (Nagel et al. 2019)."""

    version = METHOD_VERSIONS["equalize"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights."""
        if scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so they have no range to even out"
        return None

    def prepare(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Even out all pairs.

        Raises:
            InputError: there is none.
        """
        once = {node: weight for weight, node in float_graph.executed_once(graph).items()}
        pairs = 0
        for node in list(graph.graph.nodes):
            if node in once:
                first = [once[node], *_bias(node, 2)]
                axis = float_graph.channels(node)
            elif node.target in NORMALIZATIONS:
                place, bias, axis = NORMALIZATIONS[node.target]
                first = [*_bias(node, place), *_bias(node, bias)]
                if not first or len(first[0].users) > 1 or _is_wide(first[0]):
                    continue
            else:
                continue
            pairs += _evened(graph, node, axis, first, once)
        if not pairs:
            raise InputError(
                "equalize: no two layers of this network can share a scale, as something between "
                "them would mind: leave equalize out"
            )
        return graph


def _bias(node: Node, place: int) -> list[Node]:
    """The parameter that is an argument of a node, if there is one."""
    given: Any = node.args[place] if len(node.args) > place else None
    return [given] if isinstance(given, Node) and given.op == "get_attr" else []


def _is_wide(weight: Node) -> bool:
    return weight.meta["val"].ndim != 1


def _evened(
    graph: GraphModule, node: Node, axis: int, first: list[Node], once: dict[Node, Node]
) -> bool:
    """Even out a layer with those that take its output; whether that can be done."""
    value = node.meta["val"]
    count = value.shape[axis]
    shape = [1] * value.ndim
    shape[axis] = count
    marks = torch.arange(count).view(shape).expand(value.shape)
    ends = float_graph.reached(node, marks)
    # A parameter that others read too cannot be scaled for one of them.
    if not ends or any(end not in once for end, _ in ends) or any(len(p.users) > 1 for p in first):
        return False
    weights = [float_graph.exact(graph, each) for each in first]
    own = weights[0].abs().reshape(count, -1).amax(1)
    other = torch.zeros_like(own)
    for end, channels in ends:
        columns = float_graph.exact(graph, once[end]).abs().transpose(0, 1).flatten(1).amax(1)
        other = other.scatter_reduce(0, channels.to(own.device), columns, "amax")
    usable = (own > 0) & (other > 0)
    ratio = torch.where(usable, own / other.clamp(min=1e-30), 1.0)
    scale = ratio.sqrt().clamp(1 / BOUND, BOUND)
    for each, weight in zip(first, weights, strict=True):
        float_graph.replace(graph, each, weight / _beside(scale, weight))
    for end, channels in ends:
        weight = float_graph.exact(graph, once[end])
        columns = scale[channels.to(scale.device)]
        wide = columns.view(1, -1, *(1,) * (weight.ndim - 2))
        float_graph.replace(graph, once[end], weight * wide)
    return True


def _beside(scale: Tensor, weight: Tensor) -> Tensor:
    """Scales of output channels in the rank of a weight."""
    return scale.view(-1, *(1,) * (weight.ndim - 1))
