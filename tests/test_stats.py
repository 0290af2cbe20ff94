import numpy as np
import pytest

from bench.stats import interval


def test_students_interval_of_a_mean():
    # Deviation 1, t of two degrees of freedom 4.302653.
    values = np.array([1.0, 2.0, 3.0])
    low, high = interval(2.0, values - 2)
    assert high - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6) == pytest.approx(2 - low)


def test_no_interval_where_nothing_is_known():
    assert interval(1.0, np.array([1.0, -1.0])) == (None, None)
    assert interval(1.0, np.full(5, np.nan)) == (None, None)


def test_what_a_pair_shares_cancels():
    random = np.random.default_rng(0)
    shared, own = random.standard_normal((2, 1000))
    low, high = interval(0.0, (shared + 0.1 * own) - shared)
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(1000), rel=0.05)
