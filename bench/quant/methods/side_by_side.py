"""A quantized graph and the network in full precision, executed together layer by layer.

Whoever chooses the weights of a layer by its output asks for what the layer meets: its inputs
after all earlier layers were quantized, and the output that full precision has there. Both graphs
run on the same inputs of the network, drawn from the sampling trajectories that full precision
gives, and stop at each layer; its weights may be changed before they run on. So all layers cost
one execution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.quant.graph import float_of
from bench.quant.methods.rounded import RoundedLayer
from bench.quant.methods.windows import Drawn, groups_of
from bench.quant.stopped import Stopped, drawn
from bench.quant.switched import switch_of
from bench.quant.weight_rows import dequantized
from bench.system.random import seeded

# Most inputs of the network, and bytes of what both graphs hold of them.
INPUTS, HELD = 256, 2**30
# Columns of a layer's input that are taken from each batch.
COLUMNS = 4096


@dataclass(frozen=True)
class Task:
    """What a layer has to do, over the columns x of its inputs and its full-precision outputs y.

    Attributes:
        hessian: E[x x^T], float64 (groups, K, K).
        target: E[y x^T], float64 (C_out, K).
        power: E[y^2], float64 (C_out,).
    """

    hessian: Tensor
    target: Tensor
    power: Tensor

    def error(self, weight: Tensor) -> Tensor:
        """E[(W x - y)^2] of each output channel for weights W (C_out, K), float64 (C_out,)."""
        parts = (t.double().chunk(len(self.hessian)) for t in (weight, self.target))
        squares = [
            ((w @ hessian - 2 * target) * w).sum(1)
            for hessian, w, target in zip(self.hessian, *parts, strict=True)
        ]
        return torch.cat(squares) + self.power


class SideBySide:
    """Both graphs, at the start.

    Args:
        graph: from `quantize_graph`; its weights may be changed on the way.
        denoiser: that the graph was made of.
        calibration: gives the inputs.

    Raises:
        RuntimeError: the calibration evaluates nothing.
    """

    def __init__(self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration) -> None:
        full = float_of(graph)
        size = calibration.shape[0]
        batches = max(1, min(INPUTS // size, HELD // (2 * live_bytes(full))))
        inputs = drawn(denoiser.model, calibration, batches * size, size, switch_of(graph))
        self.quantized, self.full = Stopped(graph, inputs), Stopped(full, inputs)
        self.drawn = Drawn(COLUMNS, seeded("side by side"))

    def task(self, rounded: RoundedLayer) -> Task:
        """Run up to a layer; what it has to do.

        Raises:
            RuntimeError: what it meets is not finite.
        """
        name, weight = rounded.layer.node, rounded.weight
        node = self.full.until(name)
        self.quantized.until(name)
        groups, wide = groups_of(node), weight[0].numel()
        double = {"dtype": torch.float64, "device": weight.device}
        hessian = torch.zeros(groups, wide, wide, **double)  # type: ignore[call-overload]
        target = torch.zeros(groups, len(weight) // groups, wide, **double)  # type: ignore[call-overload]
        power, count = torch.zeros(len(weight), **double), 0  # type: ignore[call-overload]
        quantized = self.quantized.values(rounded.node.args[0])
        for x, exact in zip(quantized, self.full.values(node.args[0]), strict=True):
            y = node.target(exact, weight, None, *node.args[3:])  # type: ignore[operator]
            columns, products = self.drawn.columns(node, x, weight, y)
            assert products is not None
            hessian += torch.bmm(columns, columns.transpose(1, 2))
            target += torch.bmm(products, columns.transpose(1, 2))
            power += products.double().square().sum(2).flatten()
            count += columns.shape[-1]
        if not bool(torch.isfinite(hessian).all() and torch.isfinite(power).all()):
            raise RuntimeError(f"inputs of layer {rounded.layer.name} are not finite")
        return Task(hessian / count, target.flatten(0, 1) / count, power / count)

    def changed(self, rounded: RoundedLayer) -> None:
        """Take the new weights of the layer at which the graphs stand."""
        weight = rounded.node.args[1]
        assert isinstance(weight, Node)
        self.quantized.put(weight, dequantized(self.quantized.graph, rounded.node))


def live_bytes(graph: GraphModule) -> int:
    """Most bytes of activations that are held at once while a graph runs."""
    last_uses = Interpreter(graph).user_to_last_uses
    held = most = 0
    for node in graph.graph.nodes:
        held += _bytes(node)
        most = max(most, held)
        held -= sum(map(_bytes, last_uses.get(node, [])))
    return max(most, 1)


def _bytes(node: Node) -> int:
    value = node.meta.get("val")
    return value.nbytes if isinstance(value, Tensor) and node.op != "get_attr" else 0
