"""Confidence intervals of numbers, and of differences between numbers.

A metric of N independent images is, to first order, a mean: its value moves by terms_i / N when
image i is drawn anew (the influence function of the metric; Hampel 1974). So its standard error is
the standard deviation of the terms divided by sqrt(N). For a *change* between two sets of images
that pair up by index, the terms are the differences of the two images of each pair: what both
share, above all their noise, cancels. docs/metrics.md has the measured coverage.

Numbers of independent images differ by a - b with the error sqrt(s_a^2 + s_b^2) and the degrees of
freedom of Welch (1947), s^4 / (s_a^4 / v_a + s_b^4 / v_b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
# Relative difference that the order of a sum alone can make.
ROUNDING = 1e-9
# The fourth power of a larger error overflows.
HUGE = 1e75


@dataclass(frozen=True)
class Estimate:
    """A number, its standard error, and the degrees of freedom of that error."""

    value: float
    error: float
    degrees: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The ends of the two-sided Student interval."""
        reach = self.error * float(stdtrit(self.degrees, (1 + level) / 2))
        return self.value - reach, self.value + reach

    def chance_above(self, bound: float) -> float:
        """One-sided p that the true number is at most `bound`; small if the estimate is above."""
        if self.error == 0:
            return 0.0 if self.value > bound else 1.0
        return float(stdtr(self.degrees, (bound - self.value) / self.error))

    def without_rounding(self, scale: float) -> Estimate:
        """The estimate of a difference; 0 where the difference is no more than rounding.

        Args:
            scale: size of the numbers that were subtracted.
        """
        limit = ROUNDING * abs(scale)
        if not (math.isfinite(limit) and abs(self.value) <= limit):
            return self
        return replace(self, value=0.0, error=self.error if self.error > limit else 0.0)

    def flipped(self) -> Estimate:
        """The estimate of the number with the other sign."""
        return replace(self, value=-self.value)


def estimate(value: float, terms: np.ndarray) -> Estimate | None:
    """A number with the error that its terms (N,) give it; None below three or undefined ones."""
    n = len(terms)
    if n < 3 or not np.isfinite(terms).all():
        return None
    return Estimate(value, float(terms.std(ddof=1) / np.sqrt(n)), n - 1)


def interval(value: float, terms: np.ndarray) -> tuple[float | None, float | None]:
    """The ends of the 95% Student interval of a number.

    Args:
        value: the number.
        terms: the influence of each image on it, (N,), independent; NaN where undefined.

    Returns:
        (low, high), both None for fewer than three images, undefined terms, or terms that are all
        alike: where no image moved the number, nothing is known of its error.
    """
    known = estimate(value, terms)
    return known.interval() if known and known.error > 0 else (None, None)


def share_interval(share: float, n: int) -> tuple[float | None, float | None]:
    """The ends of the 95% score interval (Wilson 1927) of a share of n images.

    That of a mean undercovers near 0 and 1, and has no width where all images are alike.
    """
    if n < 3 or not math.isfinite(share):
        return None, None
    z = float(stdtrit(n - 1, (1 + LEVEL) / 2)) ** 2 / n
    centre = (share + z / 2) / (1 + z)
    reach = math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def share_change(differences: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """The ends of the 95% interval of the change of a share, image by image (Bonett and Price
    2012): one more image is taken to have changed to either side, so that it keeps a width where
    none did, as the rule of three does.

    Args:
        differences: change of each image, -1, 0 or 1, (N,).

    Returns:
        (low, high), both None for fewer than three images or undefined differences.
    """
    n = len(differences)
    if n < 3 or not np.isfinite(differences).all():
        return None, None
    gained, lost = (differences > 0.5).sum() + 1, (differences < -0.5).sum() + 1
    centre, total = (gained - lost) / (n + 2), (gained + lost) / (n + 2)
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * math.sqrt((total - centre**2) / (n + 2))
    return max(-1.0, float(centre) - reach), min(1.0, float(centre) + reach)


def from_interval(value: float, low: float | None, high: float | None, n: int) -> Estimate | None:
    """The estimate behind a 95% interval of N images, as `interval` made it.

    None where there is none: no ends, or undefined ones, or ends that do not hold the value, or
    an interval without width, which no image moved and which thus knows no error.
    """
    if low is None or high is None or n < 3 or not all(map(math.isfinite, (value, low, high))):
        return None
    if not low <= value <= high or low == high:
        return None
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2))
    return Estimate(value, (high - low) / 2 / reach, n - 1)


@dataclass(frozen=True)
class Total(Estimate):
    """A number with independent sources of error, each with its own degrees of freedom.

    The half width of the interval is the root of the sum of squares of those of the sources.
    `degrees` are those of Satterthwaite (1946), for information only: they are made from the same
    errors, and jump to those of the images where two trainings happen to agree, so that nominal
    95% intervals of two trainings would cover 87% at worst and of three 92%. These cover 95 to
    99%.

    Attributes:
        sources: (standard error, degrees of freedom) of each.
    """

    sources: tuple[tuple[float, float], ...] = ()

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The ends of the two-sided interval."""
        reach = self._reach((1 - level) / 2)
        return self.value - reach, self.value + reach

    def chance_above(self, bound: float) -> float:
        """One-sided p of a true number of at most `bound`: the level whose interval ends there."""
        from scipy.optimize import brentq

        distance = self.value - bound
        if self.error == 0 or not math.isfinite(distance):
            return super().chance_above(bound)

        def beyond(tail: float) -> float:
            return self._reach(math.exp(tail)) - abs(distance)

        ends = math.log(1e-30), math.log(0.5)
        tail = math.exp(brentq(beyond, *ends)) if beyond(ends[0]) > 0 else 1e-30
        return tail if distance > 0 else 1 - tail

    def _reach(self, tail: float) -> float:
        if self.error == 0:
            return 0.0
        return math.hypot(*(error * float(stdtrit(d, tail)) for error, d in self.sources))


def total(value: float, sources: Sequence[Estimate]) -> Estimate:
    """A number whose independent sources of error add up (`Total`).

    Args:
        value: the number.
        sources: at least one; their values do not matter.
    """
    if len(sources) == 1:
        return replace(sources[0], value=value)
    spread = independent(*sources[:2])
    for source in sources[2:]:
        spread = independent(spread, source)
    pairs = tuple((source.error, source.degrees) for source in sources)
    return Total(value, spread.error, spread.degrees, pairs)


def independent(a: Estimate, b: Estimate) -> Estimate:
    """a - b of numbers from independent images (Welch)."""
    if not max(a.error, b.error) < HUGE:
        return Estimate(a.value - b.value, math.inf, min(a.degrees, b.degrees))
    squares = a.error**2, b.error**2
    whole = sum(squares)
    if whole == 0:
        return Estimate(a.value - b.value, 0.0, min(a.degrees, b.degrees))
    weights = squares[0] ** 2 / a.degrees + squares[1] ** 2 / b.degrees
    return Estimate(a.value - b.value, math.sqrt(whole), whole**2 / weights)


def repeated(values: Sequence[float]) -> Estimate | None:
    """The mean of a number that was measured k times, by how it varied; None below two."""
    k = len(values)
    if k < 2 or not np.isfinite(values).all():
        return None
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(k), k - 1)


def pooled(values: Sequence[float], terms: Sequence[np.ndarray]) -> Estimate | None:
    """The mean of one number over repetitions that share their images.

    The repetitions (trainings of a method, directions in weight space) vary among each other; all
    see the same images and noise, so the error of the images does not fall with their number: it
    is that of the means of their terms over the repetitions. Both are added (`Total`).

    Args:
        values: one for each repetition.
        terms: the influences of each, (N,), paired by image index.

    Returns:
        The estimate; None below two repetitions or with undefined terms.
    """
    between = repeated(values)
    images = estimate(0.0, np.mean(terms, axis=0)) if between else None
    if between is None or images is None:
        return None
    return total(between.value, (between, images))
