import numpy as np
import pytest
from scipy.ndimage import correlate1d

from bench.measurement.metrics import filters

WEIGHTS = np.array([0.4, 0.2, 0.1])


def whole(planes):
    """What scipy gives, its last bits included."""
    kernel = np.concatenate([WEIGHTS[:0:-1], WEIGHTS])
    means = correlate1d(correlate1d(planes, kernel, axis=-2), kernel, axis=-1)
    return means[..., 2:-2, 2:-2]


@pytest.mark.parametrize("shape", [(5, 5), (6, 40), (300, 17), (2, 3, 9, 11)])
def test_filtered_is_scipy_where_the_filter_fits(shape):
    planes = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(filters.filtered(planes, WEIGHTS), whole(planes), atol=1e-14)
    inwards = filters.filtered(planes, WEIGHTS, inwards=True)
    np.testing.assert_array_equal(inwards, whole(planes))


@pytest.mark.parametrize("shape", [(3, 700, 40), (150, 18, 18), (1, 1, 1), (2, 5, 9000)])
def test_strips_cover_every_row_once_and_are_small(shape):
    seen = np.zeros(shape, int)
    for planes, rows in filters.strips(*shape):
        seen[planes, rows] += 1
        size = seen[planes, rows].size
        assert size <= max(filters.VALUES, filters.ROWS * shape[2])
    assert (seen == 1).all()


def test_halved_takes_the_last_of_odd_sizes_twice():
    planes = np.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(filters.halved(planes), [[[2, 3.5]]])
    np.testing.assert_array_equal(filters.halved(planes[..., :2, :2]), [[[2]]])
