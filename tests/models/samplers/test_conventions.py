"""A sampler depends on the ratios signal / noise alone: the same ratios in another convention are
the same walk of x / signal, from the same noise to the same image."""

import functools
import itertools

import pytest
import torch

from bench.core.denoiser import Denoised
from bench.core.noise_levels import CLEAN, CONVENTIONS, Level, NoiseLevels
from bench.models.samplers.ddim import ddim
from bench.models.samplers.ddpm import ddpm
from bench.models.schedules import alpha_bar
from bench.system.random import seeded

WALK = NoiseLevels.discrete(alpha_bar("linear")).steps(8, "trailing")


def denoise(x, level):
    """E[x_0 | x] of Gaussian data of mean 0.2 and deviation 0.25."""
    gain = level.signal * 0.0625 / (level.signal**2 * 0.0625 + level.noise**2)
    x_0 = 0.2 + gain * (x - 0.2 * level.signal)
    return Denoised(x_0, (x - level.signal * x_0) / level.noise, 0.0)


def converted(level, convention):
    ratio = level.signal / level.noise
    noise = 1 / CONVENTIONS[convention](ratio)
    return Level(ratio * noise, noise, level.index)


@pytest.mark.parametrize("convention", ["exploding", "flow"])
@pytest.mark.parametrize("sampler", [ddim, functools.partial(ddim, eta=0.7), ddpm])
def test_the_same_walk_in_another_convention(sampler, convention):
    ends = []
    for name in ("preserving", convention):
        walk = [*(converted(level, name) for level in WALK[:-1]), CLEAN]
        draws = (
            torch.randn(2, 1, 8, 8, generator=seeded("walk", k)).double()
            for k in itertools.count()
        )
        x_T = next(draws) / WALK[0].signal * walk[0].signal
        ends.append(sampler(denoise, x_T, walk, lambda draws=draws: next(draws)))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-5)


def test_ancestral_steps_reach_the_data_where_variance_explodes():
    levels = NoiseLevels.sigmas(0.002, 80.0)
    generator = seeded("ancestral")
    x_T = levels.deviation(levels.at(999)) * torch.randn(4, 1, 64, 64, generator=generator)
    walk = levels.steps(400, "linspace")
    x_0 = ddpm(denoise, x_T, walk, lambda: torch.randn(x_T.shape, generator=generator))
    assert float(x_0.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(x_0.std()) == pytest.approx(0.25, rel=0.03)
