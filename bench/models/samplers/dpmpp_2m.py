"""DPM-Solver++(2M) (Lu et al. 2022b, arXiv 2211.01095, algorithm 2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor

from bench.core.noise_levels import Level
from bench.core.protocols import Denoise, Noise


def dpmpp_2m(denoise: Denoise, x_T: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
    """Second order by the x_0 of the step before, one evaluation a step.

    In l = log(signal / noise) a step of h solves the flow exactly for an x_0 that does not change,

        x' = (noise' / noise) x + (signal' - signal noise' / noise) x_0,

    and takes x_0 + h / (2 h_before) (x_0 - x_0 before) for the middle of the step. The first step,
    the last one to no noise, and the one after a level without signal, whose h is infinite, are of
    first order.
    """
    x, before, h_before = x_T, x_T, math.inf
    for level, following in itertools.pairwise(levels):
        x_0, h = denoise(x, level).x_0, log_ratio(following) - log_ratio(level)
        share = h / (2 * h_before) if math.isfinite(h) and math.isfinite(h_before) else 0.0
        middle = x_0 + share * (x_0 - before) if share else x_0
        kept = following.noise / level.noise
        x = kept * x + (following.signal - level.signal * kept) * middle
        before, h_before = x_0, h
    return x


def log_ratio(level: Level) -> float:
    """log(signal / noise), infinite where one of them is 0."""
    if level.noise == 0:
        return math.inf
    return math.log(level.signal / level.noise) if level.signal > 0 else -math.inf
