"""Heun's method along the flow of the probability (Karras et al. 2022, algorithm 1, no churn)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor

from bench.core.noise_levels import Level
from bench.core.protocols import Denoise, Noise


def heun(denoise: Denoise, x_T: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
    """The trapezoidal rule for both scales: second order, two evaluations a step but the last.

    The flow is dx = x_0 d(signal) + epsilon d(noise). A step evaluates the network where Euler's
    step (DDIM) leads, and goes from x by the means of both ends. With signal = 1 that is the step
    of Karras et al. 2022, of a flow that of its velocity; nothing is divided by the signal, which
    may be 0. The last step, to no noise, is Euler's.
    """
    x = x_T
    for level, following in itertools.pairwise(levels):
        x_0, epsilon = ends(denoise, x, level)
        euler = following.signal * x_0 + following.noise * epsilon
        if following.noise == 0:
            return euler
        later, fresher = ends(denoise, euler, following)
        x = x + (following.signal - level.signal) * (x_0 + later) / 2
        x += (following.noise - level.noise) * (epsilon + fresher) / 2
    return x


def ends(denoise: Denoise, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """(x_0, epsilon) with x = signal x_0 + noise epsilon: where x_0 was bounded, epsilon is what
    is left, as in the samplers of Karras et al. DDIM keeps that of the prediction instead."""
    x_0 = denoise(x, level).x_0
    return x_0, (x - level.signal * x_0) / level.noise
