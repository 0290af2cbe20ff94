"""Confidence sequences: the mixture by its integral, verdicts, and error at any stopping time."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from bench.verdicts.confidence_sequences import (
    BETTER,
    EQUIVALENT,
    UNDECIDED,
    WORSE,
    Sequence,
    decide,
    mixture,
    skewed,
    two_sided,
)


def likelihood(n, z, density, r):
    """Ratio of the sum z sqrt(n) under drifts of a density to that without drift."""
    s = z * np.sqrt(n)

    def weighed(drift):
        return np.exp(drift * s - drift**2 * n / 2) * density(drift * np.sqrt(r)) * np.sqrt(r)

    return quad(weighed, -2, 2, points=[0, s / (n + r)], limit=500)[0]


@pytest.mark.parametrize("n", [50, 200, 500, 3000])
def test_at_its_end_the_mixture_is_one_by_the_error(n):
    """Ville's inequality: the mixture of likelihood ratios reaches 1 / a with chance a at most."""
    r = mixture(0.95, 500)
    assert likelihood(n, float(two_sided(n)), norm.pdf, r) == pytest.approx(20, rel=1e-6)


def test_pinned_multiples_of_the_standard_error():
    """r = 500 / (2 log 20 + log(1 + 2 log 20)), as confseq's TwoSidedNormalMixture::best_rho."""
    assert mixture(0.95, 500) == pytest.approx(63.0028048963)
    found = two_sided(np.array([100, 500, 5000]))
    assert found == pytest.approx([3.36388773, 3.03520899, 3.24172315])


def test_it_is_narrowest_near_the_n_that_it_is_tuned_for():
    n = np.arange(20, 20_000)
    for tuned in (200, 500, 2000):
        # The half width itself falls on; its multiple of the standard error is what is tuned.
        assert n[np.argmin(two_sided(n, tuned=tuned))] == pytest.approx(tuned, rel=0.15)
        assert two_sided(tuned, tuned=tuned) < two_sided(tuned, tuned=4 * tuned)


def test_interval_at_a_look():
    terms = np.tile([-2.0, 2.0], 100)
    low, high = Sequence().interval(7.0, terms)
    reach = float(two_sided(200)) * 2.0 * np.sqrt(200 / 199) / np.sqrt(200)
    assert (low, high) == pytest.approx((7 - reach, 7 + reach))
    assert Sequence(first=201).interval(7.0, terms) is None
    assert Sequence().interval(7.0, np.full(200, 3.0)) is None
    assert Sequence().interval(np.nan, terms) is None
    assert Sequence().interval(7.0, np.append(terms, np.inf)) is None


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((2.1, 5), WORSE),
        ((2, 5), UNDECIDED),
        ((-1.9, 1.9), EQUIVALENT),
        ((-2, 1.9), UNDECIDED),
        ((-1.9, 2), UNDECIDED),
        ((-9, -2.1), BETTER),
        ((-9, 9), UNDECIDED),
        (None, UNDECIDED),
    ],
)
def test_verdicts_of_a_margin_of_two(ends, verdict):
    assert decide(ends, margin=2) == verdict
    if ends is not None:
        apart = [tuple(end + shift for end in ends) for shift in (-2, 2)]
        assert decide(*apart) == verdict


def test_the_end_on_the_side_of_a_long_tail_is_further_out():
    """|skewness| (2 z^2 + 1) / (6 sqrt(n)) standard errors, and nothing on the other side."""
    below, above = skewed(100, 2.0, 3.0)
    assert (below, above) == pytest.approx((3, 3 + 2 * 19 / 60))
    assert skewed(100, -2.0, 3.0) == pytest.approx((3 + 2 * 19 / 60, 3))
    # One value in ten: deviation 0.3, skewness 0.8 / 0.3.
    terms = np.tile(np.eye(10)[0], 20)
    low, high = Sequence().interval(0.1, terms)
    error, z = 0.3 / np.sqrt(199), float(two_sided(200))
    further = (0.8 / 0.3) * (2 * z**2 + 1) / (6 * np.sqrt(200))
    assert low == pytest.approx(0.1 - z * error)
    assert high == pytest.approx(0.1 + (z + further) * error)


def test_a_loss_is_not_called_equivalent_too_often_where_influences_are_very_skewed():
    """400 log-normal streams, skewness 6.2, looked at from 100 images on: without the widening
    nine in a hundred end below their mean."""
    random = np.random.default_rng(1)
    streams = random.lognormal(0, 1, (400, 1500)) - np.exp(0.5)
    counts = [100, 120, 150, 200, 300, 450, 700, 1000, 1500]
    missed = [
        any(Sequence().interval(d[:n].mean(), d[:n])[1] < 0 for n in counts) for d in streams
    ]
    assert np.mean(missed) <= 0.05
    assert ever(streams, two_sided)[1] > 0.06


def ever(draws, ends):
    """Shares of streams that are above, and below, their mean of 0 at any look from 100 on."""
    n = np.arange(100, draws.shape[1] + 1)
    first, second = (np.cumsum(draws**k, axis=1)[:, 99:] for k in (1, 2))
    means = first / n
    errors = np.sqrt((second / n - means**2) / (n - 1))
    z = ends(n)
    return (means > z * errors).any(1).mean(), (means < -z * errors).any(1).mean()


@pytest.mark.parametrize("tails", [np.inf, 5])
def test_no_more_than_the_error_at_any_look_where_peeking_errs_often(tails):
    """400 streams with a look at every image from 100 to 1,500: a share of 2.5% to either side has
    a standard error of 0.8%; a fixed interval looked at as often misses in a third of them."""
    random = np.random.default_rng(1)
    streams = random.standard_normal((400, 1500))
    if np.isfinite(tails):
        streams /= np.sqrt(random.chisquare(tails, streams.shape) / tails)
    above, below = ever(streams, two_sided)
    assert above <= 0.045
    assert below <= 0.045
    assert above + below <= 0.07
    assert sum(ever(streams, lambda n: np.full(n.shape, 1.96))) > 0.25
