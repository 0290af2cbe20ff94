"""Inputs of a network from all over its sampling trajectories, and graphs that run on them up to
any layer and stop there, so that whoever asks for a layer alone need not run all before it again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.system.random import seeded


class Stopped:
    """A graph on several batches, that stops wherever it should."""

    def __init__(self, graph: GraphModule, batches: Sequence[tuple[Tensor, ...]]) -> None:
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
        """Give a node that was executed another value."""
        for run in self.runs:
            run.env[node] = value  # type: ignore[index]


def drawn(
    denoiser: Denoiser, calibration: Calibration, most: int, size: int
) -> list[tuple[Tensor, ...]]:
    """Inputs of the network from all over its trajectories, at most so many, in batches of a size.

    Each that is met has the same chance (reservoir sampling, Vitter 1985); memory stays bounded.

    Raises:
        RuntimeError: the calibration evaluates nothing.
    """
    generator = seeded("inputs")
    kept: list[tuple[Tensor, ...]] = []
    met = 0

    def evaluate(*inputs: Tensor) -> Tensor:
        nonlocal met
        # Tensors of inference mode could not be given to graphs outside.
        with torch.inference_mode(False):
            rows = list(zip(*(tensor.clone() for tensor in inputs), strict=True))
        for row in rows:
            met += 1
            place = len(kept)
            if place == most:
                place = int(torch.randint(met, (), generator=generator))
            if place < most:
                kept[place : place + 1] = [row]
        prediction: Tensor = denoiser.model(*inputs)
        return prediction

    calibration(evaluate)
    if not met:
        raise RuntimeError("calibration did not evaluate the network")
    groups = [kept[start : start + size] for start in range(0, len(kept), size)]
    with torch.inference_mode(False):
        return [tuple(torch.stack(rows) for rows in zip(*group, strict=True)) for group in groups]
