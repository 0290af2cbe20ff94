import numpy as np
import pytest
from helpers.pairs import blurred, coarse, evidence, picture

from bench.core import extensions
from bench.core.errors import InputError
from bench.measurement.metrics import identities
from bench.measurement.metrics.flip import flip


def test_pinned_values_of_the_authors_package():
    twins = picture(64, 80)
    images = np.concatenate([twins, coarse(twins, 40), blurred(twins)])
    values = flip(images, np.repeat(twins, 3, 0))
    assert values[0] == 0
    np.testing.assert_allclose(values, [0, 0.2244422, 0.0978942], rtol=1e-6)


def test_black_against_white_is_near_the_most_there_is():
    black, white = (np.full((1, 3, 40, 40), value, np.uint8) for value in (0, 255))
    # Flat images have no edges: the same error at each pixel, at any size.
    np.testing.assert_allclose(flip(white, black), 0.9673883, rtol=1e-5)


def test_grey_is_three_equal_channels_and_any_size_is_measured():
    twins = picture(28, 28, 1)
    images = coarse(twins, 16)
    colour = flip(images.repeat(3, 1), twins.repeat(3, 1))
    np.testing.assert_array_equal(flip(images, twins), colour)
    assert flip(images[..., :1, :1], twins[..., :1, :1]).shape == (1,)


def test_the_measurement():
    twins = np.concatenate([picture(40, 40), picture(40, 40)[..., ::-1], picture(40, 40)])
    images = np.concatenate([coarse(twins[:2], 8), blurred(twins[2:])])
    measured = extensions.lookup("metrics", "flip")()(evidence(images, twins))
    assert (measured.name, measured.better, measured.paired) == ("flip@3", "lower", True)
    assert measured.low < measured.value < measured.high


def test_the_package_is_in_the_keys_and_missing_it_is_one_line(monkeypatch):
    assert extensions.identity("metrics", "flip")["package"].startswith("flip-evaluator ")
    monkeypatch.setattr(identities, "FLIP", "flip-evaluator-of-nobody")
    with pytest.raises(InputError, match=r"metric flip needs flip-.*\[perceptual\]'$"):
        extensions.lookup("metrics", "flip")()
