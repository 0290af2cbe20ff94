"""Weight ranges of least squared error, searched for each output channel.

With b bits a weight w becomes s clamp(round(w / s), -2^(b-1), 2^(b-1) - 1). Plain rounding takes
the step s = max|w| / ((2^b - 1) / 2), under which no weight is off by more than half a step. A
smaller step clips the largest weights and rounds all others finer. The step of least

    sum over the channel of (w_q - w)^2

is taken, as in Choukroun et al. 2019 (arXiv 1902.06822). The sum is not convex in s, so it is
tried on a grid; from the best step of the grid on, codes and step are fitted in turn, s =
sum(w q) / sum(q^2), which never raises it. Where a group of input channels has a step of its own,
the sum is over the group; of affine ranges both ends are drawn in by the same share.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods.rounded import (
    affine_rows,
    limits,
    round_rows,
    rounded_layers,
    rows_of,
)
from bench.quant.steps import widest
from bench.quant.weight_rows import constants

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
            rows = rows_of(graph, rounded)
            _, _, zeros = constants(graph, rounded.node)
            if bool(zeros.any()):
                round_rows(graph, rounded, *best_range(rows, rounded.layer.weight_bits))
            else:
                round_rows(graph, rounded, best_steps(rows, limits(rounded)))
        return graph


def best_steps(rows: Tensor, codes: tuple[int, int]) -> Tensor:
    """The step of least squared error of each row, with the zero point 0.

    Args:
        rows: weights, float32 (R, K).
        codes: the least and the largest code.

    Returns:
        float32 (R,).
    """
    # A row of zeros has no error at any step.
    largest = rows.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny * 2**10)
    first = widest(largest, (codes[1] - codes[0] + 1).bit_length() - 1)
    best, least = first, _error(rows, first, codes)
    for k in range(GRID - 1, 0, -1):
        best, least = _better(rows, first * (k / GRID), codes, best, least)
    for _ in range(FITS):
        numbers = _numbers(rows, best, codes)
        fitted = (rows * numbers).sum(1) / numbers.square().sum(1)
        usable = torch.isfinite(fitted) & (fitted > 0)
        best, least = _better(rows, torch.where(usable, fitted, best), codes, best, least)
    return best


def _better(
    rows: Tensor, steps: Tensor, codes: tuple[int, int], best: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """The better of two steps of each row, and its error; the earlier one where they tie."""
    error = _error(rows, steps, codes)
    lower = error < least
    return torch.where(lower, steps, best), torch.where(lower, error, least)


def _numbers(rows: Tensor, steps: Tensor, codes: tuple[int, int]) -> Tensor:
    return (rows / steps[:, None]).round().clamp(*codes)


def _error(rows: Tensor, steps: Tensor, codes: tuple[int, int]) -> Tensor:
    """Sum of squared rounding errors of each row, float32 (R,)."""
    return (_numbers(rows, steps, codes) * steps[:, None] - rows).square().sum(1)


def best_range(rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The range of least squared error of each row among those that reach from a share of its
    least to the same share of its largest weight.

    Args:
        rows: weights, float32 (R, K).
        bits: of their codes.

    Returns:
        Steps, float32 (R,), and zero points (R,).
    """
    best: tuple[Tensor, Tensor] | None = None
    least = torch.full_like(rows[:, 0], torch.inf)
    half = 2 ** (bits - 1)
    for k in range(GRID, 0, -1):
        steps, zeros = affine_rows(rows * (k / GRID), bits)
        numbers = (rows / steps[:, None]).round() + zeros[:, None]
        rounded = (numbers.clamp(-half, half - 1) - zeros[:, None]) * steps[:, None]
        error = (rounded - rows).square().sum(1)
        lower = error < least
        if best is None:
            best = steps, zeros
        best = torch.where(lower, steps, best[0]), torch.where(lower, zeros, best[1])
        least = torch.where(lower, error, least)
    assert best is not None
    return best
