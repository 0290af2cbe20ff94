"""Ranges at a percentile: the few largest values are clipped, so that all others are finer.

The range of an activation reaches from the (100 - p)-th to the p-th percentile of the layer's
inputs in full precision along the sampling trajectories, all timesteps together, and always holds
0; that of the weights of an output channel to the p-th percentile of their magnitudes, as Wu et
al. 2020 compare ranges (arXiv 2004.09602, section 3). 100 leaves ranges as they are. Of the inputs
at each evaluation some are drawn, by a seed, so percentiles are those of a large sample. Layers
that share an input share its range.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.graph import float_of, layers_of
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.layers import Layer
from bench.quant.methods import options
from bench.quant.methods.rounded import round_rows, rounded_layers, rows_of
from bench.quant.steps import widest
from bench.system.random import seeded

OPTIONS = {"activations": (99.99, 50.0, 100.0), "weights": (100.0, 50.0, 100.0)}
# Values that are drawn from each input of a layer, at each evaluation.
VALUES = 2048


class Percentile:
    """Clips activations, or weights, at a percentile (Wu et al. 2020)."""

    version = METHOD_VERSIONS["percentile"]

    def __init__(self, argument: str = "") -> None:
        values = options.numbers("percentile", argument, OPTIONS)
        self.activations, self.weights = values["activations"], values["weights"]
        if self.activations == self.weights == 100:
            raise InputError("percentile=activations:100 changes no range: name a percentile")

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse what stays in float, and two ranges of the same weights."""
        names = [method.partition(":")[0] for method in scheme.methods]
        if self.weights < 100 and scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so they have no range"
        if self.weights < 100 and "mse" in names:
            return "mse chooses the ranges of the same weights: name one of them"
        if self.weights == 100 and scheme.act_bits in FLOAT_BITS:
            return "the activations stay in float, so they have no range"
        return None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Give all layers other ranges.

        Raises:
            RuntimeError: an input is not finite, or the calibration evaluates nothing.
        """
        if self.weights < 100:
            for rounded in rounded_layers(graph):
                sizes = rows_of(graph, rounded).abs()
                largest = torch.quantile(sizes, self.weights / 100, dim=1)
                # A row of zeros, or of zeros but for a few, keeps the range of its largest.
                largest = torch.where(largest > 0, largest, sizes.amax(1).clamp(min=1e-30))
                round_rows(graph, rounded, widest(largest, rounded.layer.weight_bits))
        if self.activations < 100:
            self._clip_activations(graph, calibration)
        return graph

    def _clip_activations(self, graph: GraphModule, calibration: Calibration) -> None:
        layers = {
            layer.node: layer for layer in layers_of(graph) if layer.act_bits not in FLOAT_BITS
        }
        sampled = _Sampled(float_of(graph), layers.values())
        calibration(sampled.run)
        share = self.activations / 100
        for node in list(graph.graph.nodes):
            if node.name not in layers:
                continue
            layer = layers[node.name]
            drawn = sampled.values.get(sampled.inputs[node.name])
            if not drawn:
                raise RuntimeError("calibration did not evaluate the network")
            values = torch.cat(drawn).double()
            if not bool(torch.isfinite(values).all()):
                raise RuntimeError(f"inputs of layer {layer.name} are not finite")
            low, high = (quantile(values, part) for part in (1 - share, share))
            _set_range(node.args[0], *affine(low, high, layer.act_bits))


def quantile(values: Tensor, share: float) -> float:
    """The value below which a share of all lies, by linear interpolation."""
    ordered = values.sort().values
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    first, second = ordered[below].item(), ordered[above].item()
    return first + (second - first) * (place - below)


def affine(low: float, high: float, bits: int) -> tuple[float, int]:
    """The step and the zero point of a range, which is widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / (2**bits - 1), torch.finfo(torch.float32).eps)
    return scale, min(max(round(-low / scale), 0), 2**bits - 1)


def _set_range(dequantize: Any, scale: float, zero: int) -> None:
    """Change the step and the zero point of a quantize/dequantize pair."""
    for node in (dequantize, dequantize.args[0]):
        x, _, _, *rest = node.args
        node.args = (x, scale, zero, *rest)


class _Sampled(Interpreter):
    """Executes a network and keeps some values of the inputs of layers.

    Attributes:
        inputs: what each layer shares its range by: the node of its input, and its bits.
        values: for that, as they come.
    """

    def __init__(self, graph: GraphModule, layers: Iterable[Layer]) -> None:
        super().__init__(graph)
        self.generator = seeded("percentile")
        nodes = {node.name: node for node in graph.graph.nodes}
        self.inputs = {layer.node: (nodes[layer.node].args[0], layer.act_bits) for layer in layers}
        # Those that see an input first.
        self.first = {key: name for name, key in reversed(self.inputs.items())}
        self.values: dict[tuple[Any, int], list[Tensor]] = {}

    def run_node(self, n: Node) -> Any:
        key = self.inputs.get(n.name)
        if key is not None and self.first[key] == n.name:
            x = self.env[n.args[0]].flatten()  # type: ignore[index]
            if len(x) > VALUES:
                x = x[torch.randint(len(x), (VALUES,), generator=self.generator).to(x.device)]
            # An input may be changed in place later on.
            self.values.setdefault(key, []).append(x.clone())
        return super().run_node(n)
