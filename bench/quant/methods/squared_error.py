"""Weight ranges of least squared error, searched for each output channel.

With b bits a weight w becomes s clamp(round(w / s), -2^(b-1), 2^(b-1) - 1). Plain rounding takes
the step s = max|w| / ((2^b - 1) / 2), under which no weight is off by more than half a step. A
smaller step clips the largest weights and rounds all others finer. The step of least

    sum over the channel of (w_q - w)^2

is taken, as in Choukroun et al. 2019 (arXiv 1902.06822). The sum is not convex in s, so it is
tried on a grid; from the best step of the grid on, codes and step are fitted in turn, s =
sum(w q) / sum(q^2), which never raises it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods.rounded import RoundedLayer, codes_of, round_weights, rounded_layers

# Steps of the grid, as shares of that of plain rounding: 0.01, 0.02, ... 1.
GRID = 100
FITS = 10


class SquaredError:
    """Takes the weight range of least squared rounding error for each output channel."""

    version = METHOD_VERSIONS["mse"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights."""
        if scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so they have no range"
        return None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Round the weights of all layers anew; nothing is calibrated."""
        for rounded in rounded_layers(graph):
            round_weights(graph, rounded, best_scale(rounded))
        return graph


def best_scale(rounded: RoundedLayer) -> Tensor:
    """The step of least squared error of each output channel, float32 (C_out,)."""
    largest = rounded.weight.abs().flatten(1).amax(1)
    # A channel of zeros has no error at any step.
    widest = largest.clamp(min=torch.finfo(torch.float32).tiny * 2**10)
    widest = widest / ((2**rounded.layer.weight_bits - 1) / 2)
    best, least = widest, _error(rounded, widest)
    for k in range(GRID - 1, 0, -1):
        best, least = _better(rounded, widest * (k / GRID), best, least)
    for _ in range(FITS):
        codes, weight = codes_of(rounded, best).flatten(1), rounded.weight.flatten(1)
        fitted = (weight * codes).sum(1) / codes.square().sum(1)
        usable = torch.isfinite(fitted) & (fitted > 0)
        best, least = _better(rounded, torch.where(usable, fitted, best), best, least)
    return best


def _better(
    rounded: RoundedLayer, scale: Tensor, best: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """The better of two steps for each channel, and its error; the earlier one where they tie."""
    error = _error(rounded, scale)
    lower = error < least
    return torch.where(lower, scale, best), torch.where(lower, error, least)


def _error(rounded: RoundedLayer, scale: Tensor) -> Tensor:
    """Sum of squared rounding errors of each output channel, float32 (C_out,)."""
    steps = scale.view(-1, *(1,) * (rounded.weight.ndim - 1))
    return (codes_of(rounded, scale) * steps - rounded.weight).flatten(1).square().sum(1)
