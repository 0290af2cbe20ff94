"""Ancestral sampling of DDPM (Ho et al. 2020)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.core.noise_levels import Level
from bench.core.protocols import Denoise, Noise
from bench.models.samplers.ddim import forward_variance, posterior_variance

# Least variance of a step, as in diffusers: so that it has a logarithm.
LEAST = 1e-20


def ddpm(denoise: Denoise, x_T: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) along any levels.

    A step draws from the Gaussian of x at the next level, given x and the predicted x_0. Its log
    variance lies between that of the posterior and that of the forward step, at the share that
    `Denoised` has: the network's own where it learned one, else 0 ("fixed_small") or 1
    ("fixed_large").
    """
    x = x_T
    for level, following in itertools.pairwise(levels):
        x_0, _, share = denoise(x, level)
        beta, power = forward_variance(level, following), level.noise**2
        of_x_0 = following.signal * beta / power
        of_x = level.signal / following.signal * following.noise**2 / power
        low, high = math.log(max(posterior_variance(level, following), LEAST)), math.log(beta)
        x = of_x_0 * x_0 + of_x * x
        # As diffusers: the last step is free of noise where it starts at the least level of all.
        if level.index > 0:
            log_variance = torch.as_tensor(low + share * (high - low), device=x.device)
            x = x + (0.5 * log_variance).exp() * noise()
    return x
