"""Data whose best denoiser is known, noise levels of every kind, and the flow between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.denoiser import Denoised
from bench.core.noise_levels import NoiseLevels
from bench.models.schedules import alpha_bar


@dataclass(frozen=True)
class Mixture:
    """White mixture of Gaussians: each pixel by itself.

    Attributes:
        weights, means, deviations: of the parts.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def x_0(self, x: Tensor, signal: float, noise: float) -> Tensor:
        """E[x_0 | x] of x = signal x_0 + noise eps."""
        weights, means, deviations = (
            torch.tensor(values, dtype=torch.float64)
            for values in (self.weights, self.means, self.deviations)
        )
        power = (signal * deviations) ** 2 + noise**2
        centred = x.double()[..., None] - signal * means
        parts = (weights.log() - power.log() / 2 - centred**2 / (2 * power)).softmax(-1)
        return (parts * (means + signal * deviations**2 / power * centred)).sum(-1)

    def denoise(self, x, level):
        """As a sampler calls it."""
        x_0 = self.x_0(x, level.signal, level.noise)
        return Denoised(x_0, (x - level.signal * x_0) / level.noise, 0.0)

    def quantile(self, share: Tensor) -> Tensor:
        """The value below which the share of the data lies, by bisection."""
        low, high = torch.full_like(share, -10), torch.full_like(share, 10)
        for _ in range(60):
            middle = (low + high) / 2
            below = sum(
                w * torch.special.ndtr((middle - m) / s)
                for w, m, s in zip(self.weights, self.means, self.deviations, strict=True)
            )
            low, high = (
                torch.where(below < share, middle, low),
                torch.where(below < share, high, middle),
            )
        return (low + high) / 2

    def noised(self, signal: float, noise: float) -> Mixture:
        """The distribution of x at a level."""
        return Mixture(
            self.weights,
            tuple(signal * m for m in self.means),
            tuple(math.hypot(signal * s, noise) for s in self.deviations),
        )

    def below(self, x: Tensor) -> Tensor:
        """The share of the data that lies below a value."""
        return sum(
            w * torch.special.ndtr((x - m) / s)
            for w, m, s in zip(self.weights, self.means, self.deviations, strict=True)
        )


def exact(data: Mixture, x: Tensor, level) -> Tensor:
    """Where the flow leads from x at a level: in one dimension it keeps quantiles."""
    return data.quantile(data.noised(level.signal, level.noise).below(x.double()))


GAUSSIAN = Mixture((1.0,), (0.2,), (0.25,))
MIXTURE = Mixture((0.3, 0.7), (-0.6, 0.4), (0.2, 0.3))
DATA = {"gaussian": GAUSSIAN, "mixture": MIXTURE}


def zero_terminal(curve: Tensor) -> Tensor:
    """A schedule without signal at the last timestep (Lin et al. 2024, algorithm 1)."""
    roots = curve.double().sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return roots.square()


KINDS = {
    "discrete": NoiseLevels.discrete(alpha_bar("linear")),
    "fractional": NoiseLevels.fractional(alpha_bar("linear")),
    "fractional cosine": NoiseLevels.fractional(alpha_bar("cosine")),
    "zero terminal": NoiseLevels.fractional(zero_terminal(alpha_bar("scaled_linear"))),
    "sigmas": NoiseLevels.sigmas(0.002, 80.0),
    "edm": NoiseLevels.sigmas(0.002, 80.0, rho=7, told="c_noise"),
    "flow": NoiseLevels.flow(),
    "shifted flow": NoiseLevels.flow(shift=3.0),
}
