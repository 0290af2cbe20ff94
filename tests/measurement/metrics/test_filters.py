import numpy as np
import pytest
from scipy.ndimage import correlate1d

from bench.measurement.metrics import filters

WEIGHTS = np.array([0.4, 0.2, 0.1])


@pytest.mark.parametrize(("height", "width"), [(5, 5), (6, 40), (300, 17)])
def test_filtered_is_scipy_where_the_filter_fits(height, width):
    plane = np.random.default_rng(0).normal(size=(height, width))
    kernel = np.concatenate([WEIGHTS[:0:-1], WEIGHTS])
    whole = correlate1d(correlate1d(plane, kernel, axis=0), kernel, axis=1)
    np.testing.assert_allclose(filters.filtered(plane, WEIGHTS), whole[2:-2, 2:-2], atol=1e-14)


def test_zero_padded_keeps_the_size_and_sees_nothing_beyond():
    corner = np.zeros((4, 3))
    corner[0, 0] = 1
    means = filters.zero_padded(corner, WEIGHTS)
    assert means.shape == (4, 3)
    np.testing.assert_allclose(means[0], WEIGHTS[0] * WEIGHTS)
    assert means[3, 0] == 0


def test_halved_takes_the_last_of_odd_sizes_twice():
    planes = np.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(filters.halved(planes), [[[2, 3.5]]])
    np.testing.assert_array_equal(filters.halved(planes[..., :2, :2]), [[[2]]])
