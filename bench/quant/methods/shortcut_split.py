"""Shortcut split: of concatenated inputs each part gets a range, and weights, of its own.

A UNet concatenates what comes from below with what a skip connection brings, and their values lie
in different ranges: one range for both is too coarse for the narrower one (Li et al. 2023,
Q-Diffusion, arXiv 2302.04304, section 3.3.2). A layer that takes such a concatenation along its
input channels is a sum,

    W [h; s] + b  =  W_h h + b  +  W_s s,

so it becomes two layers, or as many as are concatenated, each with its own range of the input and
steps of the weights. In full precision nothing changes. What normalizes before it convolves, as a
residual block does in its first layer, has one range anyway and is left; the concatenations are
found in the graph, not by names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.layers import weight_of
from bench.quant.methods import float_graph
from bench.quant.methods.windows import groups_of

aten = torch.ops.aten


class ShortcutSplit:
    """Gives the parts of a concatenated input ranges and weights of their own (Li et al. 2023)."""

    version = METHOD_VERSIONS["split"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float activations."""
        if scheme.act_bits in FLOAT_BITS:
            return "the activations stay in float, so they have no range to split"
        return None

    def prepare(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Split all layers that take a concatenation.

        Raises:
            InputError: there is none.
        """
        split = 0
        for node in float_graph.layers(graph):
            if parts := _parts(node):
                _split(graph, node, parts)
                split += 1
        if not split:
            raise InputError(
                "split: no layer of this network takes a concatenation: leave split out"
            )
        graph.graph.eliminate_dead_code()
        return graph


def _parts(node: Node) -> list[Node]:
    """What a layer's input is concatenated of along its channels, nothing if it is not."""
    x: Any = node.args[0]
    if x.target is not aten.cat.default or groups_of(node) != 1:
        return []
    axis = x.args[1] if len(x.args) > 1 else 0
    rank = x.meta["val"].ndim
    is_along = axis % rank == float_graph.channels(node) % rank
    return list(x.args[0]) if is_along and len(x.args[0]) > 1 else []


def _split(graph: GraphModule, node: Node, parts: list[Node]) -> None:
    """Replace a layer by one for each part of its input, whose outputs are added up."""
    old = weight_of(node)
    assert old is not None
    name, value = float_graph.name_of(node), float_graph.exact(graph, old)
    axis, shape = float_graph.channels(node), node.meta["val"].shape
    sizes = [part.meta["val"].shape[axis] for part in parts]
    _, _, *rest = node.args
    bias, geometry = (rest or [None])[0], rest[1:]
    total: Node | None = None
    last = node
    for k, (part, weight) in enumerate(zip(parts, value.split(sizes, 1), strict=True), 1):
        made = float_graph.weight(graph, node, f"{name}.part{k}", weight)
        own = [part, made, bias if k == 1 else None, *geometry]
        last = float_graph.call(graph, last, node.target, tuple(own), shape)
        if total is not None:
            last = float_graph.call(graph, last, aten.add.Tensor, (total, last), shape)
        total = last
    assert total is not None
    node.replace_all_uses_with(total)
    graph.graph.erase_node(node)
