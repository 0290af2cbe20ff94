"""A sampler of another package: Heun's method along the probability flow, with its own levels.

The flow of y = x / signal at sigma = noise / signal is dy / dsigma = (y - x_0(y, sigma)) / sigma.
A step is that of algorithm 1 of Karras et al. (2022), without churn, at their sigmas

    sigma_k = (sigma_max^(1/7) + k / (n - 1) (sigma_min^(1/7) - sigma_max^(1/7)))^7, then 0.
"""

import itertools
import math

from bench.core.noise_levels import CLEAN

RHO, HIGHEST = 7, 80.0


class Heun:
    """Two evaluations of the network for each step but the last."""

    def choose(self, levels, steps):
        """The sigmas of Karras et al. among the levels that the network takes."""
        lowest, highest = (math.exp(-levels.log_ratios[k] / 2) for k in (0, -1))
        top, bottom = min(highest, HIGHEST) ** (1 / RHO), lowest ** (1 / RHO)
        ramp = (k / max(steps - 1, 1) for k in range(steps))
        sigmas = [(top + share * (bottom - top)) ** RHO for share in ramp]
        chosen = (levels.near(-2 * math.log(sigma)) for sigma in sigmas)
        # Of few discrete levels one may be the nearest twice.
        return [*dict.fromkeys(chosen), CLEAN]

    def __call__(self, denoise, x_T, levels, noise):
        """x_0 of the batch."""
        x = x_T
        for level, following in itertools.pairwise(levels):
            y, slope, sigma = flow(denoise, x, level)
            step = following.noise / following.signal - sigma
            x = following.signal * (y + step * slope)
            if following is not CLEAN:
                _, after, _ = flow(denoise, x, following)
                x = following.signal * (y + step * (slope + after) / 2)
        return x


def flow(denoise, x, level):
    """(y, dy / dsigma, sigma) at a level."""
    y, sigma = x / level.signal, level.noise / level.signal
    return y, (y - denoise(x, level).x_0) / sigma, sigma


heun = Heun()
