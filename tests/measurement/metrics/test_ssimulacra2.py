"""Against the authors' program, github.com/cloudinary/ssimulacra2 at 81feacf (version 2.1), built
and run on these pictures as PNG."""

import numpy as np
import pytest
from helpers.pairs import blurred, coarse, evidence, picture

from bench.core import extensions
from bench.core.errors import NotMeasured
from bench.measurement.metrics.ssimulacra2 import ssimulacra2, window

# (height, width, channels): what the program says of steps of 8 and of 40, and of the blurred one.
PROGRAM = {
    (256, 320, 3): (90.97622654, -64.22868552, 65.42685000),
    (131, 177, 3): (90.05985879, -57.53510049, 67.28918201),
    (160, 160, 1): (91.02349028, -52.82838311, 70.35637094),
    (113, 120, 3): (90.67572063, -61.05873443, 70.39888436),
}


@pytest.mark.parametrize("shape", PROGRAM)
def test_the_scores_are_those_of_the_program(shape):
    twins = picture(*shape)
    damaged = np.concatenate([coarse(twins, 8), coarse(twins, 40), blurred(twins)])
    # The program computes in float32 and takes roots by an approximation.
    scores = ssimulacra2(damaged, np.repeat(twins, 3, 0))
    np.testing.assert_allclose(scores, PROGRAM[shape], rtol=0, atol=0.05)


def test_pinned_values():
    twins = picture(131, 177)
    np.testing.assert_allclose(ssimulacra2(blurred(twins), twins), 67.29888336603128, rtol=1e-9)


def test_equal_images_are_exactly_100():
    twins = picture(120, 120)
    assert ssimulacra2(twins, twins) == 100


def test_grey_is_three_equal_channels():
    twins = picture(120, 130, 1)
    images = coarse(twins, 16)
    grey, colour = (
        ssimulacra2(images, twins),
        ssimulacra2(*(x.repeat(3, 1) for x in (images, twins))),
    )
    np.testing.assert_allclose(grey, colour, rtol=1e-12)


def test_the_window_is_a_gaussian_of_area_1():
    weights = window()
    assert 2 * weights.sum() - weights[0] == pytest.approx(1, abs=1e-12)
    variance = 2 * (weights * np.arange(5) ** 2).sum()
    assert variance == pytest.approx(1.5**2, abs=1e-9)
    gaussian = np.exp(-(np.arange(5) ** 2) / 4.5)
    np.testing.assert_allclose(weights / weights[0], gaussian, atol=0.01)


def test_small_images_are_not_measured():
    small = picture(112, 300)
    with pytest.raises(NotMeasured, match="at least 113 x 113 pixels, these have 300 x 112"):
        ssimulacra2(small, small)


def test_the_measurement():
    twins = np.concatenate([picture(113, 113), picture(113, 113)[..., ::-1], picture(113, 113)])
    images = np.concatenate([coarse(twins[:2], 8), blurred(twins[2:])])
    measured = extensions.lookup("metrics", "ssimulacra2")()(evidence(images, twins))
    assert (measured.name, measured.better, measured.paired) == ("ssimulacra2@3", "higher", True)
    assert measured.low < measured.value < measured.high
