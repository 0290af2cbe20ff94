"""The quantized graph in a form that a runtime's own converter of torch graphs understands.

A converter cannot be told the integers of a graph: it would take codes and steps for any other
arithmetic. So what is handed over is the network in float, whose numbers are left open:

- each weight, bias and other tensor of floats is an input of the graph, with a name;
- each range is a number: activations are quantized with the step k + 1, and k says which scale and
  zero point belong there.

When the graph is converted, `Handed` says what each name and each number stands for. Networks of
one structure have one such graph, whatever their weights, so it is converted once for all of them.

Beside the prediction the graph returns, for a few images, the input and the output of each
quantized layer, by which the runtime's kernels are held against the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.quant.graph import DEQUANTIZE, LAYERS, QUANTIZE, layers_of
from bench.quant.kernels.integer_layer import IntegerLayer, Part, parts
from bench.quant.kernels.lowering import read, require_integers
from bench.quant.rewrite import LAYER, Rewriter

aten = torch.ops.aten
# Images of which inputs and outputs of layers are returned; all would take too much memory.
WATCHED = 4


@dataclass(frozen=True)
class Range:
    """How an activation is rounded: q = clamp(round(x / scale) + zero, 0, high)."""

    scale: float
    zero: int
    high: int


@dataclass(frozen=True)
class Watched:
    """Where to look at a layer.

    Attributes:
        name: of the layer.
        x, y: places of its input and of its output among the outputs of the graph.
        number: of the range of its input.
    """

    name: str
    x: int
    y: int
    number: int


@dataclass(frozen=True, eq=False)
class Handed:
    """A graph to convert, and what its names and numbers stand for.

    Attributes:
        graph: (inputs of the network, *values by name) -> (prediction, *what is watched), the
            latter of the first images.
        inputs: names of the inputs of the network.
        shapes, kinds: of these inputs.
        values: tensors by the names of the other inputs: float32, or the codes of weights (int8).
        steps: by the names of codes, the step of each output channel, float32 (C_out,).
        ranges: by their numbers.
        weights: by the node of each layer in the quantized graph, the names of its weights: one,
            or one for each part that it is the sum of.
        halved: nodes of the layers of which a part was cut.
        watched: by the nodes of the quantized layers, what is returned of them.
    """

    graph: GraphModule
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    kinds: tuple[torch.dtype, ...]
    values: dict[str, Tensor]
    steps: dict[str, Tensor]
    ranges: tuple[Range, ...]
    weights: dict[str, list[str]]
    halved: frozenset[str]
    watched: dict[str, Watched]


def hand_over(graph: GraphModule, cut: Callable[[Part], Sequence[Part]]) -> Handed:
    """Make the form of a quantized graph that a converter takes.

    Args:
        graph: from `quantize_graph`, or one in full precision from `layers.exported`; not changed.
        cut: what a layer, or a part of it, is computed as: itself, or a sum of others.

    Raises:
        RuntimeError: a quantized layer has a float operand, or its range switches.
    """
    return _Hander(graph, cut).handed()


def marked(x: Tensor, number: int) -> Tensor:
    """An activation quantized with the range of a number: its step says which."""
    limits = (float(number + 1), 0, 0, 255, torch.uint8)
    return DEQUANTIZE(QUANTIZE(x, *limits), *limits)


class _Hander(Rewriter):
    def __init__(self, source: GraphModule, cut: Callable[[Part], Sequence[Part]]) -> None:
        super().__init__(source)
        self.cut = cut
        planned = layers_of(source) if LAYERS in source.meta else ()
        self.layers = {layer.node: layer for layer in planned if layer.quantized}
        self.open: dict[str, Tensor] = {}
        self.steps: dict[str, Tensor] = {}
        images = next(n for n in source.graph.nodes if n.op == "placeholder").meta["val"].shape[0]
        self.first = torch.arange(min(images, WATCHED))
        self.ranges: dict[tuple[Any, ...], int] = {}
        self.parts: dict[str, list[str]] = {}
        self.halved: set[str] = set()
        self.watched: dict[str, Watched] = {}
        self.results: dict[Node, int] = {}

    def handed(self) -> Handed:
        """The form."""
        made = self.run()
        graph = made.graph.graph
        for node in graph.nodes:
            weight = node.args[1] if LAYER in node.meta and len(node.args) > 1 else None
            if isinstance(weight, Node) and weight.name in self.open:
                self.parts.setdefault(node.meta[LAYER], [weight.name])
        inputs = [node for node in self.source.graph.nodes if node.op == "placeholder"]
        return Handed(
            made.graph,
            tuple(node.name for node in inputs),
            made.shapes,
            tuple(node.meta["val"].dtype for node in inputs),
            self.open,
            self.steps,
            tuple(Range(*key[1:]) for key in self.ranges),
            self.parts,
            frozenset(self.halved),
            self.watched,
        )

    def result(self, prediction: Node) -> Any:
        return prediction, *self.results

    def pair(self, x: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
        if isinstance(scale, Node):
            raise RuntimeError("a range that switches with the timestep cannot be handed over")
        x = self.node(x)
        number = self.ranges.setdefault((x, scale, zero, high), len(self.ranges))
        made = self.round(marked, x, number)
        made.meta["bench_range"] = number
        return made

    def constant(self, value: Tensor) -> Node:
        # Integers say how a network is built, as indices do, and stay in the graph.
        return self._open(value) if value.is_floating_point() else super().constant(value)

    def _open(self, value: Tensor) -> Node:
        name = f"bench_value_{len(self.open)}"
        self.open[name] = value.detach()
        return self.graph.placeholder(name)

    def layer(self, node: Node) -> Node | None:
        layer = self.layers.get(node.name)
        if layer is None:
            return None
        require_integers(node, layer)
        whole, zeros = read(self, node, layer)
        x = self.node(self.values[cast("Any", node.args[0]).args[0]])
        names: list[str] = []
        total: Node | None = None
        cuts = [self.cut(first) for first in parts(whole, zeros)]
        if any(len(cut) > 1 for cut in cuts):
            self.halved.add(node.name)
        for part in (each for cut in cuts for each in cut):
            weight = self._open(part.layer.weight)
            names.append(weight.name)
            self.steps[weight.name] = part.layer.scale
            y = self._computed(whole, part, x, weight)
            total = y if total is None else self.emit(aten.add.Tensor, (total, y), {})
        assert total is not None
        self.parts[node.name] = names
        places = self._watch(x), self._watch(total)
        self.watched[node.name] = Watched(layer.name, *places, x.meta["bench_range"])
        return total

    def _watch(self, value: Node) -> int:
        """The place among the outputs of a copy of the first images, which is taken before
        anything writes over them."""
        copy = self.emit(aten.index_select.default, (value, 0, self.first), {})
        # A converter takes no node for two outputs, and layers may share an input.
        return self.results.setdefault(copy, len(self.results) + 1)

    def _computed(self, whole: IntegerLayer, part: Part, x: Node, weight: Node) -> Node:
        layer, axis = part.layer, 1 if whole.is_convolution else -1
        if isinstance(part.channels, Tensor):
            x = self.emit(aten.index_select.default, (x, axis, part.channels), {})
        elif part.channels != slice(0, whole.shape[axis]):
            limits = (axis, part.channels.start, part.channels.stop)
            x = self.emit(aten.slice.Tensor, (x, *limits), {})
        if not whole.is_convolution:
            return self.emit(aten.linear.default, (x, weight, layer.bias), {})
        geometry = ([*layer.stride], [*layer.padding], [*layer.dilation], layer.groups)
        return self.emit(aten.conv2d.default, (x, weight, layer.bias, *geometry), {})
