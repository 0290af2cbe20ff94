"""Spacings: positions in a table of levels, and sigmas between the ends of one."""

import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler

from bench.core import spacings
from bench.core.errors import InputError
from bench.core.noise_levels import CLEAN, NoiseLevels
from bench.models.schedules import alpha_bar


@pytest.mark.parametrize("name", spacings.SPACINGS)
def test_each_name_is_known(name):
    spacings.require(name)


def test_an_unknown_name_is_told_with_all():
    with pytest.raises(InputError, match="trailing, leading, linspace, karras or exponential"):
        spacings.require("Karras")


@pytest.mark.parametrize(
    ("spacing", "whole", "between"),
    [
        ("trailing", [9, 6, 2], [9, 17 / 3, 7 / 3]),
        ("leading", [6, 3, 0], [6, 3, 0]),
        ("linspace", [9, 4, 0], [9, 4.5, 0]),
    ],
)
def test_positions_in_a_table_of_ten(spacing, whole, between):
    """Lin et al. 2024, table 2: round(flip(10, 20/3, 10/3)) - 1; 0, 3, 6; 0, 4.5 and 9."""
    assert spacings.positions(10, 3, spacing, False).tolist() == whole
    assert spacings.positions(10, 3, spacing, True) == pytest.approx(between)


def test_sigmas_in_closed_form():
    roots = (128 ** (1 / 7), 1.0)
    middle = (sum(roots) / 2) ** 7
    assert spacings.sigmas(128, 1, 3, "karras") == pytest.approx([128, middle, 1])
    assert spacings.sigmas(100, 1, 3, "exponential") == pytest.approx([100, 10, 1])
    for spacing in spacings.OF_SIGMA:
        assert spacings.sigmas(80, 0.002, 1, spacing).tolist() == [80]


@pytest.mark.parametrize("spacing", spacings.OF_SIGMA)
def test_sigmas_are_those_of_diffusers(spacing):
    scheduler = EulerDiscreteScheduler(**{f"use_{spacing}_sigmas": True})
    scheduler.set_timesteps(9)
    levels = NoiseLevels.fractional(alpha_bar("linear"))
    walk = levels.steps(9, spacing)
    ratios = [level.noise / level.signal for level in walk[:-1]]
    assert np.allclose(ratios, scheduler.sigmas[:-1], rtol=1e-3) and walk[-1] is CLEAN


def test_sigmas_of_whole_timesteps_are_refused_where_two_are_one():
    levels = NoiseLevels.discrete(alpha_bar("linear", 20))
    assert len(levels.steps(4, "exponential")) == 5
    with pytest.raises(InputError, match="comes to a timestep twice: take fewer steps"):
        levels.steps(20, "karras")


def test_sigmas_need_some_signal_at_all_levels():
    with pytest.raises(InputError, match="has no signal or no noise: take trailing"):
        NoiseLevels.flow().steps(5, "karras")
