"""Second moments of layers' inputs, E[x x^T], over the sampling trajectories of a quantized graph.

They are added up while the graph samples, so memory does not grow with the trajectories. It is the
simulation of the graph that samples, as it has the same bits in much less time. Of layers
whose moments together would be too large, some are measured at a time, each time along
trajectories of the graph as it is by then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.protocols import Calibration
from bench.quant.methods.products import products_of
from bench.quant.methods.rounded import RoundedLayer, by_name
from bench.quant.methods.windows import Drawn, groups_of
from bench.quant.rewrite import LAYER
from bench.quant.simulate import simulate
from bench.system.random import seeded

# Bytes of the moments that are held at once.
HELD = 2**30
# Columns of a layer's input that are taken from each evaluation of a batch.
COLUMNS = 1024


def by_layer(
    graph: GraphModule, rounded: Sequence[RoundedLayer], calibration: Calibration
) -> Iterator[tuple[list[RoundedLayer], Tensor]]:
    """Each layer with rounded weights, and the moment of its inputs, in order of execution.

    Args:
        graph: samples; it may be changed between two layers.
        rounded: its layers with rounded weights.
        calibration: how to sample.

    Yields:
        All executions of the layer, and E[x x^T] of all of them, float64 (groups, K, K).

    Raises:
        RuntimeError: an input is not finite, or the calibration evaluates nothing.
    """
    layers = by_name(rounded)
    for names in _portions(layers):
        yield from _measured(graph, {name: layers[name] for name in names}, calibration)


def _measured(
    graph: GraphModule, layers: dict[str, list[RoundedLayer]], calibration: Calibration
) -> Iterator[tuple[list[RoundedLayer], Tensor]]:
    """As `by_layer`, of layers whose moments are held together."""
    moments = _Moments(graph, layers)
    calibration(moments.run)
    for name, executions in layers.items():
        products = moments.products.pop(name)
        if not products.count:
            raise RuntimeError("calibration did not evaluate the network")
        mean = products.mean()
        if not bool(torch.isfinite(mean).all()):
            raise RuntimeError(f"inputs of layer {name} are not finite: check its weights")
        yield executions, mean


def _portions(layers: dict[str, list[RoundedLayer]]) -> list[list[str]]:
    """Names of layers, as many at a time as may be held."""
    portions: list[list[str]] = []
    size = HELD
    for name, (first, *_) in layers.items():
        own = groups_of(first.node) * first.weight[0].numel() ** 2 * 8
        if size + own > HELD:
            portions.append([])
            size = 0
        portions[-1].append(name)
        size += own
    return portions


def _sampling(graph: GraphModule, layers: Collection[str]) -> tuple[GraphModule, dict[str, str]]:
    """What samples in the place of a graph, and which of its nodes is which of some layers.

    Args:
        graph: quantized.
        layers: nodes of it.
    """
    own = {node.name: node.name for node in graph.graph.nodes if node.name in layers}
    simulation = simulate(graph).graph
    places = {node.name: node.meta.get(LAYER) for node in simulation.graph.nodes}
    there = {name: layer for name, layer in places.items() if layer in layers}
    # Equal layers of equal inputs are one in a simulation; they are counted each.
    return (simulation, there) if [*there.values()] == [*own] else (graph, own)


class _Moments(Interpreter):
    """Executes a graph and adds up the moments of inputs of some of its layers."""

    def __init__(self, graph: GraphModule, layers: dict[str, list[RoundedLayer]]) -> None:
        by_node = {each.layer.node: each for some in layers.values() for each in some}
        module, places = _sampling(graph, by_node)
        super().__init__(module)
        self.layers = {name: by_node[node] for name, node in places.items()}
        self.drawn = Drawn(COLUMNS, seeded("moments"))
        self.products = {name: products_of(some) for name, some in layers.items()}

    def run_node(self, n: Node) -> Any:
        if each := self.layers.get(n.name):
            x = self.env[n.args[0]]  # type: ignore[index]
            columns, _ = self.drawn.columns(each.node, x, each.weight)
            self.products[each.layer.name].add(columns)
        return super().run_node(n)
