"""Bias correction: the mean error that rounded weights leave in an output, taken from the bias.

Rounding the weights W of a layer to W_q changes its output by (W_q - W) x, which is not 0 on
average: the same rounding errors meet inputs whose mean is not 0. With E[x] over the calibration's
trajectories, which the quantized network samples itself (all timesteps, images and positions),

    b_c  becomes  b_c - E[(W_q - W) x]_c        for each output channel c,

Nagel et al. 2019 (arXiv 1906.04721, section 4.2), there from statistics of batch normalization,
here measured. A layer is linear in its input, so the mean of a convolution's error is the error of
the mean input, borders included. All layers are measured at once, before any is corrected.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.biases import bias_of, set_bias
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods.rounded import names_after, rounded_layers
from bench.quant.operators import CONVOLUTIONS
from bench.quant.weight_rows import dequantized


class BiasCorrection:
    """Takes the mean output error of rounded weights from the biases (Nagel et al. 2019)."""

    version = METHOD_VERSIONS["bias"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights, and what rounds them anew afterwards."""
        if scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so rounding leaves no error to correct"
        if after := names_after(scheme, "bias"):
            return f"{after} rounds the weights anew after it: name {after} before bias"
        return None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Correct the biases of all layers with rounded weights; a layer without bias gets one.

        Raises:
            RuntimeError: a layer computes its bias.
        """
        rounded = rounded_layers(graph)
        means = _mean_inputs(graph, [each.layer.node for each in rounded], calibration)
        for each in rounded:
            layer, node = each.layer, each.node
            error = dequantized(graph, node) - each.weight
            shift = _mean_output(node, means[layer.node], error.double().cpu())
            corrected = bias_of(graph, node, layer.name).double().cpu() - shift
            set_bias(graph, node, corrected.to(error))
        return graph


def _mean_inputs(
    graph: GraphModule, names: list[str], calibration: Calibration
) -> dict[str, Tensor]:
    """The mean input of layers: (C, H, W) of a convolution, (K,) of a linear layer, float64."""
    means = _Means(graph, names)

    def evaluate(*inputs: Tensor) -> Tensor:
        means.calls += 1
        result: Tensor = means.run(*inputs)
        return result

    calibration(evaluate)
    if not means.calls:
        raise RuntimeError("calibration did not evaluate the network")
    return {name: total / means.calls for name, total in means.totals.items()}


class _Means(Interpreter):
    """Executes a graph and adds up the mean input of some of its layers."""

    def __init__(self, graph: GraphModule, names: list[str]) -> None:
        super().__init__(graph)
        self.names, self.calls, self.totals = set(names), 0, dict[str, Tensor]()

    def run_node(self, n: Node) -> Any:
        if n.name in self.names:
            x = self.env[n.args[0]]  # type: ignore[index]
            kept = 3 if n.target in CONVOLUTIONS else 1
            mean = x.reshape(-1, *x.shape[-kept:]).mean(0).cpu().double()
            self.totals[n.name] = self.totals.get(n.name, 0) + mean
        return super().run_node(n)


def _mean_output(node: Node, mean: Tensor, error: Tensor) -> Tensor:
    """E[(W_q - W) x] of each output channel, float64 (C_out,)."""
    function: Any = node.target
    # An inference tensor, as samplers give them, cannot be written to outside.
    mean = mean.clone()
    if node.target not in CONVOLUTIONS:
        return function(mean, error)
    return function(mean[None], error, None, *node.args[3:]).mean((0, 2, 3))
