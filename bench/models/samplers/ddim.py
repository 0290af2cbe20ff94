"""DDIM sampling (Song et al. 2021)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor

from bench.core.noise_levels import Level
from bench.core.protocols import Denoise, Noise


def ddim(
    denoise: Denoise, x_T: Tensor, levels: Sequence[Level], noise: Noise, eta: float = 0.0
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12): deterministic for eta = 0, DDPM-like for eta = 1.

    A step leads to the next level, whatever the number of steps; diffusers' own step goes down by
    T // steps timesteps, which is another noise level where steps do not divide T. The predicted
    x_0 is bounded as there, and the predicted noise stays.
    """
    x = x_T
    for level, following in itertools.pairwise(levels):
        x_0, epsilon, _ = denoise(x, level)
        variance = eta**2 * posterior_variance(level, following)
        kept = math.sqrt(max(following.noise**2 - variance, 0))
        x = following.signal * x_0 + kept * epsilon
        if variance > 0:
            x += math.sqrt(variance) * noise()
    return x


def forward_variance(level: Level, following: Level) -> float:
    """Variance of the noise that leads from the following level to this one: beta of DDPM."""
    ratio = level.signal / following.signal
    return level.noise**2 - ratio**2 * following.noise**2


def posterior_variance(level: Level, following: Level) -> float:
    """Variance of x at the following level where x at this level and x_0 are known."""
    return following.noise**2 / level.noise**2 * forward_variance(level, following)
