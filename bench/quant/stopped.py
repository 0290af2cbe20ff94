"""Inputs of a network from all over its sampling trajectories, and graphs that run on them up to
any layer and stop there, so that whoever asks for a layer alone need not run all before it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.protocols import Calibration
from bench.system.random import seeded

if TYPE_CHECKING:
    from bench.quant.switched import Switch

Inputs = tuple[Tensor, ...]


class Stopped:
    """A graph on several batches, that stops wherever it should.

    Args:
        graph: is executed node by node.
        batches: inputs of the network, a run each.
    """

    def __init__(self, graph: GraphModule, batches: Sequence[Inputs]) -> None:
        self.graph, self.nodes, self.place = graph, list(graph.graph.nodes), 0
        self.runs = [Interpreter(graph) for _ in batches]
        for run, inputs in zip(self.runs, batches, strict=True):
            run.env = {}
            run.args_iter = iter(graph.graph.process_inputs(*(x.clone() for x in inputs)))

    def until(self, name: str) -> Node:
        """Execute all nodes before that of a name, which is further on."""
        while (node := self.nodes[self.place]).name != name:
            for run in self.runs:
                run.env[node] = run.run_node(node)
                for done in run.user_to_last_uses.get(node, []):
                    del run.env[done]
            self.place += 1
        return node

    def values(self, node: object) -> list[Tensor]:
        """The values of a node that was executed, one for each batch."""
        return [run.env[node] for run in self.runs]  # type: ignore[index]

    def put(self, node: object, value: Tensor) -> None:
        """Give a node another value, if it was executed; others are computed when they are."""
        for run in self.runs:
            if node in run.env:
                run.env[node] = value


def drawn(
    model: Callable[..., Tensor],
    calibration: Calibration,
    most: int,
    size: int,
    switch: Switch | None = None,
) -> list[Inputs]:
    """Inputs of a network from all over its trajectories, at most so many, in batches of a size.

    Each that is met has the same chance (reservoir sampling, Vitter 1985); memory stays bounded.
    Where ranges switch, a batch is of one group of timesteps, and each group has at least one.

    Raises:
        RuntimeError: the calibration evaluates nothing.
    """
    generator = seeded("inputs")
    groups = len(switch) if switch else 1
    if switch:
        most = max(most // (groups * size), 1) * size
    reservoirs: list[list[Inputs]] = [[] for _ in range(groups)]
    met = [0] * groups

    def evaluate(*inputs: Tensor) -> Tensor:
        group = switch.group(inputs) if switch else 0
        kept = reservoirs[group]
        # Tensors of inference mode could not be given to graphs outside.
        with torch.inference_mode(False):
            rows = list(zip(*(tensor.clone() for tensor in inputs), strict=True))
        for row in rows:
            met[group] += 1
            place = len(kept)
            if place == most:
                place = int(torch.randint(met[group], (), generator=generator))
            if place < most:
                kept[place : place + 1] = [row]
        prediction: Tensor = model(*inputs)
        return prediction

    calibration(evaluate)
    if not any(met):
        raise RuntimeError("calibration did not evaluate the network")
    rows = [
        kept[start : start + size] for kept in reservoirs for start in range(0, len(kept), size)
    ]
    with torch.inference_mode(False):
        return [tuple(torch.stack(each) for each in zip(*batch, strict=True)) for batch in rows]
