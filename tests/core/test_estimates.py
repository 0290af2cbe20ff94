import numpy as np
import pytest
from scipy.stats import binom

from bench.core.estimates import (
    Estimate,
    estimate,
    from_interval,
    independent,
    interval,
    pooled,
    share_change,
    share_interval,
    total,
)


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


def test_an_interval_gives_its_estimate_back():
    terms = np.random.default_rng(0).standard_normal(50)
    found = from_interval(3.0, *interval(3.0, terms), 50)
    assert found.error == pytest.approx(estimate(3.0, terms).error)
    assert found.degrees == 49
    assert from_interval(3.0, None, None, 50) is None
    assert from_interval(float("nan"), 0.0, 1.0, 50) is None


def test_welch():
    # Deviations 3 and 4 (hypotenuse 5): 5^4 / (3^4 / 10 + 4^4 / 20) = 29.90 degrees.
    found = independent(Estimate(7.0, 3.0, 10), Estimate(5.0, 4.0, 20))
    assert (found.value, found.error) == (2.0, 5.0)
    assert found.degrees == pytest.approx(625 / (8.1 + 12.8))
    assert independent(Estimate(1.0, 0.0, 5), Estimate(1.0, 0.0, 9)) == Estimate(0.0, 0.0, 5)


def test_chances_are_students():
    # t of 1 with one degree of freedom (Cauchy): a quarter lies above.
    assert Estimate(1.0, 1.0, 1).chance_above(0.0) == pytest.approx(0.25)
    assert Estimate(0.0, 0.0, 1).chance_above(0.0) == 1.0
    assert Estimate(0.1, 0.0, 1).chance_above(0.0) == 0.0


def test_pooled_trainings_keep_the_noise_that_they_share():
    # Equal terms in every training: averaging trainings averages no image noise away.
    terms = np.random.default_rng(0).standard_normal(400)
    found = pooled([1.0, 2.0, 3.0], [terms] * 3)
    images = estimate(0.0, terms).error
    assert found.value == 2.0
    assert found.error == pytest.approx(np.sqrt(1 / 3 + images**2))
    # Half widths in quadrature: t of 2 and of 399 degrees of freedom.
    low, high = found.interval()
    half = np.hypot(4.302653 * np.sqrt(1 / 3), 1.965927 * images)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-6)
    assert pooled([1.0], [terms]) is None


def test_pooled_intervals_cover():
    random = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        shared, k = random.standard_normal(100), 4
        own = random.standard_normal((k, 100))
        images = 3 + shared + own + 0.2 * random.standard_normal((k, 1))
        values = images.mean(1)
        low, high = pooled(values, list(images - values[:, None])).interval()
        covered.append(low < 3 < high)
    assert 0.93 < np.mean(covered) <= 1.0


def test_p_of_a_total_is_the_level_whose_interval_ends_there():
    found = total(1.0, [Estimate(0.0, 0.2, 499), Estimate(0.0, 0.3, 1)])
    for level in (0.5, 0.9, 0.95, 0.999):
        low, high = found.interval(level)
        assert found.chance_above(low) == pytest.approx((1 - level) / 2)
        assert found.chance_above(high) == pytest.approx((1 + level) / 2)
    assert found.chance_above(0.0) + found.flipped().chance_above(0.0) == pytest.approx(1.0)
    # So far out that no level reaches.
    assert (
        total(1e3, [Estimate(0.0, 0.1, 499), Estimate(0.0, 0.1, 400)]).chance_above(0.0) == 1e-30
    )
    assert found.without_rounding(1e12).interval() == (0.0, 0.0)
    assert total(3.0, [Estimate(0.0, 0.2, 9)]) == Estimate(3.0, 0.2, 9)


def test_false_alarms_of_two_trainings_keep_their_level():
    # Where trainings vary as much as the images, and two of them may agree by chance.
    random = np.random.default_rng(4)
    chances = []
    for _ in range(3000):
        images, (a, b) = random.standard_normal(), random.standard_normal(2) * 2
        sources = [Estimate(0.0, 1.0, 499), Estimate(0.0, abs(a - b) / 2, 1)]
        found = total(images + (a + b) / 2, sources)
        chances.append(2 * min(found.chance_above(0.0), found.flipped().chance_above(0.0)))
    assert np.mean(np.array(chances) < 0.05) < 0.06
    assert np.mean(np.array(chances) < 0.005) < 0.008


def test_rounding_of_what_was_subtracted_is_no_difference():
    noise = Estimate(3e-12, 2e-13, 99)
    assert noise.without_rounding(30.0) == Estimate(0.0, 0.0, 99)
    assert Estimate(-3e-12, 0.5, 99).without_rounding(30.0) == Estimate(0.0, 0.5, 99)
    for kept in (Estimate(4e-8, 1e-9, 99), Estimate(float("nan"), 1.0, 99)):
        assert kept.without_rounding(30.0) is kept
    endless = Estimate(float("inf"), 1.0, 99)
    assert endless.without_rounding(float("inf")) is endless
    assert noise.without_rounding(0.0) is noise


@pytest.mark.parametrize("n", [200, 500, 1500])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.955, 0.98, 0.99])
def test_the_interval_of_a_share_covers_near_one_too(n, share):
    # Exact: the chance of each count by whether its interval holds the share.
    ends = np.array([share_interval(k / n, n) for k in range(n + 1)])
    covers = (ends[:, 0] <= share) & (share <= ends[:, 1])
    assert 0.93 <= binom.pmf(np.arange(n + 1), n, share)[covers].sum() <= 0.97


def test_a_share_of_all_images_is_not_certain():
    # Wilson's upper end of 0 of n is z^2 / (n + z^2); t of 499 degrees is 1.964729.
    low, high = share_interval(1.0, 500)
    assert high == 1.0
    assert 1 - low == pytest.approx(1.964729**2 / (500 + 1.964729**2), rel=1e-6)
    assert share_interval(1.0, 2) == (None, None)


def test_no_interval_where_no_image_moved_the_number():
    assert interval(0.0, np.zeros(500)) == (None, None)
    assert interval(1.0, np.full(500, 0.0)) == (None, None)
    # Of what is subtracted exactly the error is 0 all the same: equal sets are equal.
    assert estimate(0.0, np.zeros(500)).error == 0


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 0.5), (1.5, 2.0), (-np.inf, np.inf)])
def test_ends_that_are_no_interval(ends):
    assert from_interval(1.0, *ends, 50) is None


def test_the_change_of_a_share_keeps_a_width_where_no_image_changed():
    low, high = share_change(np.zeros(500))
    # 1.965 * sqrt(2 / 502 / 502), about three images of 500: the rule of three.
    assert high == -low == pytest.approx(1.9647 * np.sqrt(2) / 502, rel=1e-3)
    assert 2.5 / 500 < high < 3.5 / 500
    low, high = share_change(np.array([1.0] * 20 + [0.0] * 480))
    assert 0 < low < 0.04 < high
    assert share_change(np.zeros(2)) == (None, None)
    assert share_change(np.full(9, np.nan)) == (None, None)
    assert share_change(np.ones(5))[1] == 1.0


@pytest.mark.parametrize(("gained", "lost"), [(0.001, 0.001), (0.004, 0.001), (0.05, 0.02)])
def test_the_interval_of_a_change_of_a_share_covers(gained, lost):
    """Also where fewer than ten images change sides, and Student's has too little width."""
    random, n, trials = np.random.default_rng(0), 500, 2000
    counts = random.multinomial(n, [gained, lost, 1 - gained - lost], trials)
    hits = 0
    for up, down, same in counts:
        differences = np.repeat([1.0, -1.0, 0.0], [up, down, same])
        low, high = share_change(differences)
        hits += low <= gained - lost <= high
    assert hits / trials > 0.94
