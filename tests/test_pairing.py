"""Differences of methods, paired by image, by direction and by training."""

import numpy as np
import pytest

from bench import stats
from bench.explanation import Row
from bench.pairing import between
from bench.probes.subject import compared


def measured(images, repeats=()):
    return compared("x", images.mean(), images - images.mean(), repeats)


def test_what_both_share_cancels():
    random = np.random.default_rng(0)
    shared, own = random.standard_normal((2, 400))
    found = between([(measured(10 * shared + 0.1 * own + 1), measured(10 * shared))])
    assert found.value == pytest.approx(1 + 0.1 * own.mean())
    assert found.error == pytest.approx(0.1 * own.std(ddof=1) / 20, rel=1e-3)
    assert found.degrees == 399


def test_without_influences_it_is_welchs():
    a, b = Row("x", 3.0, 2.0, 4.0, 50), Row("x", 1.0, 0.5, 1.5, 50)
    ends = [stats.from_interval(row.value, row.low, row.high, 50) for row in (a, b)]
    assert between([(a, b)]) == stats.independent(*ends)
    assert between([(Row("x", 3.0), b)]) is None
    # One of the two has influences: nothing to pair with.
    mixed = measured(np.arange(50.0))
    assert between([(mixed, b)]).error > stats.estimate(0, np.array(mixed.terms)).error


def test_directions_that_differ_are_an_error_of_their_own():
    images = np.arange(5.0)
    a, b = measured(images, (1.0, 2.0, 6.0)), measured(images, (0.0, 2.0, 1.0))
    found = between([(a, b)])
    # The images cancel; differences 1, 0, 5 by direction have the deviation sqrt(7).
    assert found.error == pytest.approx(np.sqrt(7 / 3))
    assert found.degrees == pytest.approx(2)


def test_trainings_add_how_they_vary():
    base = np.linspace(-1, 1, 200)
    pairs = [(measured(base + d), measured(base)) for d in (1.0, 2.0, 3.0)]
    found = between(pairs)
    assert found.value == pytest.approx(2.0)
    assert found.error == pytest.approx(np.sqrt(1 / 3), rel=1e-6)
    assert found.degrees == pytest.approx(2)


def test_intervals_over_trainings_and_directions_cover():
    random = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        shared, directions = random.standard_normal(60), random.standard_normal(8)
        pairs = []
        for _ in range(3):
            images = 5 * shared + random.standard_normal(60) + 0.3 * random.standard_normal()
            along = images.mean() + 0.5 * (directions - directions.mean())
            value = images.mean() + 0.5 * directions.mean()
            other = compared("x", 5 * shared.mean(), 5 * (shared - shared.mean()), (0.0,) * 8)
            row = compared("x", value, images - images.mean(), tuple(along))
            pairs.append((row, other))
        low, high = between(pairs).interval()
        covered.append(low < 0 < high)
    assert 0.93 < np.mean(covered) <= 1.0


def test_numbers_that_diverged_decide_nothing():
    a = compared("x", float("nan"), np.full(5, np.nan))
    assert between([(a, measured(np.arange(5.0)))]) is None
