"""How much the output of a network changes when the weights of one layer are rounded, or those of
all layers at once.

Everything else stays in full precision, activations too. The change is the mean squared difference
of the network's prediction on inputs from all over its own sampling trajectories. Up to the layer
nothing changes, so the network runs on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.quant.layers import plan, weight_of
from bench.quant.steps import widest
from bench.quant.stopped import Stopped, drawn

# Inputs of the network, where batches are not larger.
INPUTS = 24
# The least step, as torchao's observers have it.
LEAST = torch.finfo(torch.float32).eps


@torch.no_grad()
def rounded(weight: Tensor, bits: int) -> Tensor:
    """Weights rounded to the nearest of the steps that a quantized graph gives them.

    Args:
        weight: float32, output channels first.
        bits: 2 to 8.
    """
    half = 2 ** (bits - 1)
    scale = widest(weight.abs().flatten(1).amax(1), bits).clamp(min=LEAST)
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -half, half - 1)


class RoundedAlone:
    """A network on its inputs.

    Args:
        graph: in full precision; it is not changed.
        denoiser: that the graph was made of.
        calibration: gives the inputs.

    Raises:
        RuntimeError: the calibration evaluates nothing.
    """

    @torch.no_grad()
    def __init__(self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration) -> None:
        # A graph takes batches of its own size alone.
        x = next(node for node in graph.graph.nodes if node.op == "placeholder")
        size = len(x.meta["val"])
        self.graph = graph
        self.batches = drawn(denoiser.model, calibration, max(INPUTS // size, 1) * size, size)
        self.channels = denoiser.shape[0]
        nodes = {node.name: node for node in self.graph.graph.nodes}
        self.first: dict[str, Node] = {}
        for layer in plan(self.graph, Scheme()):
            self.first.setdefault(layer.name, nodes[layer.node])
        # What an operation in place changed cannot be met a second time.
        self.resumes = not any(map(_changes_its_inputs, self.graph.graph.nodes))
        self.full = self._started()
        self.exact = [self.graph(*(x.clone() for x in inputs)) for inputs in self.batches]

    @torch.no_grad()
    def alone(self, name: str, widths: Sequence[int]) -> np.ndarray:
        """The change by one layer at each of its bits. Layers come in order of execution.

        Returns:
            Float64 (widths, N).

        Raises:
            RuntimeError: it is not finite.
        """
        if self.resumes:
            self.full.until(self.first[name].name)
        start = self.full if self.resumes else None
        return np.stack([self._change({name: bits}, start) for bits in widths])

    @torch.no_grad()
    def together(self, bits: Mapping[str, int]) -> np.ndarray:
        """The change by all layers at once, float64 (N,).

        Args:
            bits: of each, by its name.

        Raises:
            RuntimeError: it is not finite.
        """
        return self._change(bits, None)

    def _started(self) -> Stopped:
        return Stopped(self.graph, self.batches)

    def _change(self, bits: Mapping[str, int], start: Stopped | None) -> np.ndarray:
        """The change with some layers rounded, in runs that go on from others or from inputs."""
        weights = {}
        for name, width in bits.items():
            node = weight_of(self.first[name])
            assert node is not None
            weights[str(node.target)] = rounded(
                self.full.runs[0].fetch_attr(str(node.target)), width
            )
        start = start or self._started()
        changes = []
        for before, exact in zip(start.runs, self.exact, strict=True):
            run = _Resumed(before, weights)
            difference = (run.last(start.nodes[start.place :]) - exact)[:, : self.channels]
            changes.append(difference.double().square().flatten(1).mean(1).cpu().numpy())
        change = np.concatenate(changes)
        if not np.isfinite(change).all():
            raise RuntimeError(
                f"rounded weights of {', '.join(list(bits)[:3])} give an output that is not "
                f"finite: check the weights"
            )
        return change


class _Resumed(Interpreter):
    """A run that goes on where another one stands, with other weights, and leaves that as it is.

    Args:
        before: the other run.
        weights: by the names of the attributes in whose place they are.
    """

    def __init__(self, before: Interpreter, weights: Mapping[str, Tensor]) -> None:
        super().__init__(before.module)
        self.weights, self.args_iter = weights, before.args_iter
        self.env = dict(before.env)
        for node in self.env:
            if node.op == "get_attr" and node.target in weights:
                self.env[node] = weights[str(node.target)]

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """The value of an attribute, or what takes its place."""
        known = self.weights.get(target)
        return super().get_attr(target, args, kwargs) if known is None else known

    def last(self, nodes: Sequence[Node]) -> Tensor:
        """Execute the nodes that are left; the output of the network."""
        for node in nodes:
            self.env[node] = self.run_node(node)
            for done in self.user_to_last_uses.get(node, []):
                del self.env[done]
        graph: Any = self.graph
        output: Tensor = graph.process_outputs(self.env[nodes[-1]])
        return output


def _changes_its_inputs(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)
