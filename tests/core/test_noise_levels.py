"""Noise levels of the three conventions, and the spacings of the discrete ones."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from bench.core.errors import InputError
from bench.core.noise_levels import CLEAN, Level, NoiseLevels

ALPHA_BAR = torch.linspace(0.999, 0.001, 1000)
DISCRETE = NoiseLevels.discrete(ALPHA_BAR)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_the_spacings_are_those_of_diffusers(spacing):
    for total in (1000, 300):
        levels = NoiseLevels.discrete(ALPHA_BAR[:total])
        for count in (1, 2, 3, 7, 20, 30, 50, 99, 100, 150, 250, 300):
            scheduler = DDIMScheduler(total, timestep_spacing=spacing)
            scheduler.set_timesteps(count)
            walked = levels.steps(count, spacing)
            # For 7 trailing ones of 300 diffusers goes on to timestep -1.
            expected = [t for t in scheduler.timesteps.tolist() if t >= 0]
            assert [level.index for level in walked[:-1]] == expected
            assert walked[-1] is CLEAN


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_there_are_as_many_levels_as_asked_for(spacing):
    """Of 61 trailing ones diffusers makes 62, the last of which is timestep -1."""
    for count in (*range(1, 1001, 20), 61, 103, 122, 999):
        indices = [level.index for level in DISCRETE.steps(count, spacing)[:-1]]
        assert len(indices) == count and indices[-1] >= 0
        assert indices == sorted(set(indices), reverse=True)


def test_an_unknown_spacing_is_refused():
    with pytest.raises(InputError, match="unknown spacing 'even'"):
        DISCRETE.steps(3, "even")


def test_a_schedule_is_given_back():
    assert torch.equal(DISCRETE.alpha_bar, ALPHA_BAR) and len(DISCRETE) == 1000
    level = DISCRETE.at(300)
    assert level == Level(math.sqrt(ALPHA_BAR[300]), math.sqrt(1 - ALPHA_BAR[300].double()), 300)
    assert str(DISCRETE) == "alpha_bar 0.999 to 0.001"


def test_levels_of_each_image_go_with_images():
    index = torch.tensor([3, 700])
    each = DISCRETE.each(index)
    for k, t in enumerate(index.tolist()):
        assert float(each.signal[k]) == pytest.approx(DISCRETE.at(t).signal)
        assert float(each.noise[k]) == pytest.approx(DISCRETE.at(t).noise)
    assert each.signal.shape == each.noise.shape == (2, 1, 1, 1)
    assert each.index is index


def test_levels_of_other_kinds_have_no_alpha_bar():
    for levels in (NoiseLevels.sigmas(0.01, 80.0), NoiseLevels.flow()):
        with pytest.raises(InputError, match=r"no timesteps with alpha_bar \(\w+, noise 0\.0"):
            levels.alpha_bar  # noqa: B018


@pytest.mark.parametrize(
    ("levels", "norm"),
    [
        (NoiseLevels.sigmas(0.01, 80.0), lambda level: level.signal),
        (NoiseLevels.flow(), lambda level: level.signal + level.noise),
        (
            NoiseLevels("preserving", DISCRETE.signal, DISCRETE.noise, continuous=True),
            lambda level: math.hypot(level.signal, level.noise),
        ),
    ],
)
def test_continuous_levels_are_exact_between_those_of_the_table(levels, norm):
    for ratio in (20.0, 1.0, 0.3, 0.0801):
        level = levels.near(2 * math.log(ratio))
        assert level.signal / level.noise == pytest.approx(ratio)
        assert norm(level) == pytest.approx(1.0)
        beside = levels.log_ratios[level.index]
        assert (
            abs(beside - 2 * math.log(ratio))
            == np.abs(levels.log_ratios - 2 * math.log(ratio)).min()
        )
    # Outside of the table are its ends.
    assert levels.near(1000.0) == levels.at(0)
    assert levels.near(-1000.0).noise == pytest.approx(levels.noise[-1])


def test_discrete_levels_are_the_nearest():
    for index in (0, 1, 500, 999):
        assert DISCRETE.near(float(DISCRETE.log_ratios[index]) + 1e-9).index == index


def test_sampling_starts_at_the_deviation_of_the_noise():
    assert DISCRETE.deviation(DISCRETE.at(999)) == 1.0
    sigmas = NoiseLevels.sigmas(0.01, 80.0)
    assert sigmas.deviation(sigmas.at(999)) == pytest.approx(80.0)
    flow = NoiseLevels.flow()
    assert flow.at(999) == Level(0.0, 1.0, 999, 1000.0) and flow.deviation(flow.at(999)) == 1.0
