"""SmoothQuant: channels of activations are evened out, and their scales put into the weights.

A few channels of an activation are often much larger than the others and take all of its range.
With a scale s_j > 0 for each input channel j,

    W x = (W diag(s)) (diag(s)^-1 x),    s_j = max|x_j|^alpha / max|W_j|^(1 - alpha),

the activations lose what the weights gain; alpha = 0.5 shares the difficulty evenly (Xiao et al.
2023, arXiv 2211.10438). Layers with the same input have the same scales. The division is a
multiplication in float before the input is rounded; where a normalization comes before, it could
be part of that, which saves time and changes no number beyond the last bit. Maxima are those of
full precision along its sampling trajectories, all timesteps together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.layers import weight_of
from bench.quant.methods import float_graph, options
from bench.quant.methods.windows import groups_of
from bench.quant.operators import CONVOLUTIONS
from bench.system import artifacts

aten = torch.ops.aten
OPTIONS = {"alpha": (0.5, 0.0, 1.0), "convolutions": (0.0, 0.0, 1.0)}
# Scales are no further from 1 than this: a channel that is always 0 has none of its own.
BOUND = 1e4


class Smooth:
    """Moves the scales of input channels from activations to weights (Xiao et al. 2023)."""

    version = METHOD_VERSIONS["smooth"]

    def __init__(self, argument: str = "") -> None:
        values = options.numbers("smooth", argument, OPTIONS)
        self.alpha, self.convolutions = values["alpha"], values["convolutions"] > 0

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse where one of the two is not rounded."""
        if scheme.act_bits in FLOAT_BITS or scheme.weight_bits in FLOAT_BITS:
            return "weights or activations stay in float, so there is nothing to share"
        return None

    def prepare(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Scale the inputs of all linear layers, and of convolutions where that is asked for.

        Raises:
            InputError: there is no such layer.
            RuntimeError: an input is not finite, or the calibration evaluates nothing.
        """
        layers = self._layers(graph)
        if not layers:
            raise InputError(
                "smooth: this network has no linear layer: write smooth=convolutions:1, or leave "
                "it out"
            )
        place = calibration.place
        path = place and place / "smooth.npy"
        width = sum(_width(nodes[0]) for nodes in layers.values())
        key = path and artifacts.bound(path)
        kept = path and artifacts.load_array(path, key or "", (width,), np.float32)
        if kept is None:
            kept = self._scales(graph, layers, calibration).numpy()
            if path is not None:
                artifacts.save_array(path, key or "", kept)
        values = torch.from_numpy(np.array(kept))
        for (x, nodes), scale in zip(
            layers.items(), values.split([_width(n[0]) for n in layers.values()]), strict=True
        ):
            _insert(graph, x, nodes, scale)
        return graph

    def _layers(self, graph: GraphModule) -> dict[Node, list[Node]]:
        """The layers that are smoothed, by their input."""
        once = set(float_graph.executed_once(graph).values())
        chosen: dict[Node, list[Node]] = {}
        for node in float_graph.layers(graph):
            is_convolution = node.target in CONVOLUTIONS
            if node not in once or groups_of(node) != 1:
                continue
            if self.convolutions or not is_convolution:
                chosen.setdefault(node.args[0], []).append(node)  # type: ignore[arg-type]
        # Of convolutions and linear layers with one input the channels lie in different places.
        return {
            x: nodes
            for x, nodes in chosen.items()
            if len({float_graph.channels(node) for node in nodes}) == 1
        }

    def _scales(
        self, graph: GraphModule, layers: dict[Node, list[Node]], calibration: Calibration
    ) -> Tensor:
        """The scales of all inputs, one after the other, float32."""
        largest = _Largest(graph, {x: float_graph.channels(n[0]) for x, n in layers.items()})
        calibration(largest.run)
        scales = []
        for x, nodes in layers.items():
            if x not in largest.values:
                raise RuntimeError("calibration did not evaluate the network")
            reach = largest.values[x].float().cpu()
            if not bool(torch.isfinite(reach).all()):
                name = float_graph.name_of(nodes[0])
                raise RuntimeError(f"inputs of layer {name} are not finite")
            weight = torch.stack([_columns(graph, node) for node in nodes]).amax(0).cpu()
            scale = reach**self.alpha / weight.clamp(min=1e-12) ** (1 - self.alpha)
            usable = (reach > 0) & (weight > 0)
            scales.append(torch.where(usable, scale.clamp(1 / BOUND, BOUND), 1.0))
        return torch.cat(scales)


def _width(node: Node) -> int:
    weight = weight_of(node)
    assert weight is not None
    size: int = weight.meta["val"].shape[1]
    return size


def _columns(graph: GraphModule, node: Node) -> Tensor:
    """The largest magnitude of the weights of each input channel, (C_in,)."""
    weight = weight_of(node)
    assert weight is not None
    return float_graph.exact(graph, weight).abs().transpose(0, 1).flatten(1).amax(1)


def _insert(graph: GraphModule, x: Node, nodes: list[Node], scale: Tensor) -> None:
    """Divide an input by the scales, and multiply the weights of the layers that take it."""
    axis, rank = float_graph.channels(nodes[0]), x.meta["val"].ndim
    shape = [1] * rank
    shape[axis] = -1
    for node in nodes:
        weight = weight_of(node)
        assert weight is not None
        value = float_graph.exact(graph, weight)
        own = scale.to(value.device).view(1, -1, *(1,) * (value.ndim - 2))
        float_graph.replace(graph, weight, value * own)
    inverse = (1 / scale).view(shape).to(value.device)
    name = f"{float_graph.name_of(nodes[0])}.smoothing"
    made = float_graph.weight(graph, nodes[0], name, inverse)
    with graph.graph.inserting_before(nodes[0]):
        product = graph.graph.call_function(aten.mul.Tensor, (x, made))
    product.meta = {"val": float_graph.like(x, x.meta["val"].shape)}
    for node in nodes:
        node.replace_input_with(x, product)


class _Largest(Interpreter):
    """Executes a network and keeps the largest magnitude of each channel of some values."""

    def __init__(self, graph: GraphModule, axes: dict[Node, int]) -> None:
        super().__init__(graph)
        self.axes, self.values = axes, dict[Node, Tensor]()

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if (axis := self.axes.get(n)) is not None:
            largest = result.movedim(axis, 0).flatten(1).abs().amax(1)
            known = self.values.get(n)
            self.values[n] = largest if known is None else torch.maximum(known, largest)
        return result
