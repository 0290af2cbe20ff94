"""Differences of methods, paired by image, by direction and by training."""

import numpy as np
import pytest

from bench.core import estimates
from bench.core.probe_record import ProbeValue
from bench.measurement.probes.context import compared
from bench.verdicts.paired_difference import difference_of_magnitudes, paired_difference


def measured(images, repeats=()):
    return compared("x", images.mean(), images - images.mean(), repeats)


def difference(*pairs):
    return paired_difference(pairs).estimate


def test_what_both_share_cancels():
    random = np.random.default_rng(0)
    shared, own = random.standard_normal((2, 400))
    found = difference((measured(10 * shared + 0.1 * own + 1), measured(10 * shared)))
    assert found.value == pytest.approx(1 + 0.1 * own.mean())
    assert found.error == pytest.approx(0.1 * own.std(ddof=1) / 20, rel=1e-3)
    assert found.degrees == 399


def test_without_influences_it_is_that_of_independent_images():
    a, b = ProbeValue("x", 3.0, 2.0, 4.0, 50), ProbeValue("x", 1.0, 0.5, 1.5, 50)
    ends = [estimates.from_interval(row.value, row.low, row.high, 50) for row in (a, b)]
    assert difference((a, b)) == estimates.independent(*ends)
    assert paired_difference([(ProbeValue("x", 3.0, n=50), b)]) is None
    # One of the two has influences: nothing to pair with.
    mixed = measured(np.arange(50.0))
    assert difference((mixed, b)).error > estimates.estimate(0, np.array(mixed.terms)).error


def test_directions_that_differ_are_an_error_of_their_own():
    images = np.arange(5.0)
    a, b = measured(images, (1.0, 2.0, 6.0)), measured(images, (0.0, 2.0, 1.0))
    # The images cancel; differences 1, 0, 5 by direction have the deviation sqrt(7).
    assert difference((a, b)).error == pytest.approx(np.sqrt(7 / 3))


def test_trainings_add_how_they_vary():
    base = np.linspace(-1, 1, 200)
    pairs = [(measured(base + d), measured(base)) for d in (1.0, 2.0, 3.0)]
    found = paired_difference(pairs)
    assert found.trainings == 3
    assert found.estimate.value == pytest.approx(2.0)
    # t of two degrees of freedom, 4.302653.
    low, high = found.estimate.interval()
    assert (high - low) / 2 == pytest.approx(4.302653 * np.sqrt(1 / 3), rel=1e-6)


def test_pairs_that_do_not_compare_are_left_out_alone():
    base = np.linspace(-1, 1, 200)
    good = [(measured(base + d), measured(base)) for d in (1.0, 2.0)]
    whole = paired_difference(good)
    other = measured(base[:100]), measured(base)
    fewer = measured(base[:100] + 9), measured(base[:100])
    assert paired_difference([*good, other, (None, measured(base)), fewer]) == whole
    assert paired_difference([other]) is None


def test_a_training_that_diverged_is_undefined_and_not_absent():
    base = np.linspace(-1, 1, 200)
    bad = compared("x", float("nan"), np.full(200, np.nan))
    found = paired_difference([(measured(base + 1), measured(base)), (bad, measured(base))])
    assert found.trainings == 2
    assert np.isnan(found.estimate.interval()).all()


@pytest.mark.parametrize("varied", [0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("trainings", [2, 3])
def test_intervals_over_trainings_cover(trainings, varied):
    random = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        shared, pairs = random.standard_normal(60), []
        for _ in range(trainings):
            images = shared + varied * random.standard_normal()
            pairs.append((measured(5 * shared + images), measured(5 * shared)))
        low, high = difference(*pairs).interval()
        covered.append(low < 0 < high)
    # Nominal 95%, with the scatter of 400 trials; never the 87% of a lucky small difference.
    assert 0.93 <= np.mean(covered) <= 1.0


def gap(value, noise):
    return compared("gap", value + noise.mean(), noise - noise.mean())


def test_sizes_of_numbers_of_either_sign():
    noise = np.linspace(-1, 1, 100)
    # Of opposite signs the noise that both share adds up: 2 x 1.984217 x sd / 10.
    found, low, high = difference_of_magnitudes([(gap(-2.0, noise), gap(5.0, noise))])
    reach = 1.984217 * 2 * noise.std(ddof=1) / 10
    assert found.estimate.value == pytest.approx(-3.0)
    assert (low, high) == pytest.approx((-3 - reach, -3 + reach), rel=1e-6)
    found, low, high = difference_of_magnitudes([(gap(-2.0, noise), gap(-5.0, noise))])
    # The noise cancels where both have one sign.
    assert (found.estimate.value, low, high) == pytest.approx((-3.0, -3.0, -3.0))
    assert difference_of_magnitudes([(None, gap(1.0, noise))]) is None


@pytest.mark.parametrize("true", [(0.0, 0.0), (2.0, -2.0), (2.0, 2.0)])
def test_equal_sizes_are_told_apart_rarely(true):
    random = np.random.default_rng(3)
    told = []
    for _ in range(400):
        shared, a, b = random.standard_normal((3, 100)) * 8
        rows = gap(true[0], 0.8 * shared + 0.6 * a), gap(true[1], 0.8 * shared + 0.6 * b)
        _, low, high = difference_of_magnitudes([rows])
        told.append(low > 0 or high < 0)
    assert np.mean(told) < 0.08
