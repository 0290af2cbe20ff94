import importlib

import numpy as np
import pytest
import torch
from helpers.pairs import blurred, coarse, evidence, picture

from bench.core import extensions
from bench.core.errors import NotMeasured
from bench.measurement.metrics.ms_ssim import WEIGHTS, ms_ssim, scales
from bench.measurement.metrics.paired import ssim

# The package has a function of the same name.
package = importlib.import_module("pytorch_msssim.ssim")


def window(channels):
    """As the package takes it, whose own is of float32."""
    offsets = torch.arange(11, dtype=torch.float64) - 5
    weights = torch.exp(-(offsets**2) / 4.5)
    return (weights / weights.sum()).expand(channels, 1, 1, 11)


def packaged(images, twins):
    """What pytorch-msssim gives in float64."""
    pair = (torch.from_numpy(x).double() for x in (images, twins))
    return package.ms_ssim(*pair, size_average=False, win=window(images.shape[1])).numpy()


def two_scales(images, twins):
    """From the maps of pytorch-msssim, which itself takes five scales only."""
    a, b = (torch.from_numpy(x).double() for x in (images, twins))
    _, contrast = package._ssim(a, b, 255, window(3))
    half = torch.nn.functional.avg_pool2d
    similarity, _ = package._ssim(half(a, 2), half(b, 2), 255, window(3))
    first, second = WEIGHTS[:2] / WEIGHTS[:2].sum()
    return (contrast**first * similarity**second).mean(1).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_five_scales_are_those_of_the_package(channels):
    twins = picture(176, 208, channels)
    for images in (coarse(twins, 40), blurred(twins)):
        np.testing.assert_allclose(ms_ssim(images, twins), packaged(images, twins), rtol=1e-9)


def test_pinned_values():
    twins = picture(176, 208)
    np.testing.assert_allclose(ms_ssim(coarse(twins, 40), twins), 0.7898735826282598, rtol=1e-9)
    np.testing.assert_allclose(ms_ssim(blurred(twins), twins), 0.9938218733678762, rtol=1e-9)


def test_equal_images_are_exactly_1_and_nearly_equal_ones_are_told_apart():
    twins = picture(176, 176)
    assert ms_ssim(twins, twins) == 1
    one = twins.copy()
    one[0, 0, 80, 80] += 1
    # Steps of float32 are 6e-8 below 1.
    assert 1e-9 < 1 - ms_ssim(one, twins)[0] < 6e-8


def test_a_shift_of_brightness_costs_at_the_coarsest_scale_alone():
    a, b = (np.full((1, 1, 176, 176), value, np.uint8) for value in (100, 120))
    luminance = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    np.testing.assert_allclose(ms_ssim(a, b), luminance ** WEIGHTS[-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("size", "count"), [(161, 5), (160, 4), (81, 4), (80, 3), (28, 2), (21, 2)]
)
def test_as_many_scales_as_the_window_fits_into(size, count):
    assert scales(size, 500) == scales(500, size) == count


def test_fewer_scales_have_another_name_and_weights_that_sum_to_1():
    twins = np.concatenate([picture(32, 36), picture(32, 36)[..., ::-1], picture(32, 36)[:, ::-1]])
    images = coarse(twins, 32)
    measured = extensions.lookup("metrics", "ms_ssim")()(evidence(images, twins))
    assert measured.name == "ms_ssim_2scales@3"
    np.testing.assert_allclose(ms_ssim(images, twins), two_scales(images, twins), rtol=1e-9)


def test_no_second_scale_is_not_measured():
    small = np.zeros((3, 1, 20, 40), np.uint8)
    with pytest.raises(NotMeasured, match="at least 21 x 21 pixels for two scales, these have 40"):
        ms_ssim(small, small)


def test_the_measurement():
    twins = np.concatenate([picture(176, 176), blurred(picture(176, 176)), picture(176, 176)])
    images = coarse(twins, 40)
    metric = extensions.lookup("metrics", "ms_ssim")()
    measured, terms = metric.measure(evidence(images, twins))
    assert (measured.name, measured.better, measured.paired) == ("ms_ssim@3", "higher", True)
    assert measured.low < measured.value < measured.high
    np.testing.assert_allclose(terms + measured.value, ms_ssim(images, twins))
    assert measured.value > ssim(images, twins).mean()
