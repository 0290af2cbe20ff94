"""Intervals from what each image adds to a number, and of differences between numbers.

A metric of N independent images is, to first order, a mean: its value moves by terms_i / N when
image i is drawn anew (the influence function of the metric; Hampel 1974). So its standard error is
the standard deviation of the terms by sqrt(N), and that of a *change* between two sets of images
that pair up by index is that of the differences of their terms: what both images of a pair share,
above all their noise, cancels. docs/metrics.md has the measured coverage.

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
# As a share of the numbers that are subtracted, what may differ by the order of a sum alone.
ROUNDING = 1e-9


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
        """One-sided p of a true number of at most `bound`: small where the estimate lies above."""
        if self.error == 0:
            return 0.0 if self.value > bound else 1.0
        return float(stdtr(self.degrees, (bound - self.value) / self.error))

    def without_rounding(self, scale: float) -> Estimate:
        """The estimate of a difference, as one of 0 where it is no more than rounding.

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
        (low, high), both None for fewer than three images or undefined terms.
    """
    found = estimate(value, terms)
    return found.interval() if found else (None, None)


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


def from_interval(value: float, low: float | None, high: float | None, n: int) -> Estimate | None:
    """The estimate behind a 95% interval of N images, as `interval` made it."""
    if low is None or high is None or n < 3 or not all(map(math.isfinite, (value, low, high))):
        return None
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2))
    return Estimate(value, (high - low) / 2 / reach, n - 1)


def total(value: float, sources: Sequence[Estimate]) -> Estimate:
    """A number whose independent sources of error add up; degrees of freedom by Satterthwaite
    (1946).

    Args:
        value: the number.
        sources: at least one; their values do not matter.
    """
    squares = [source.error**2 for source in sources]
    whole = sum(squares)
    if whole == 0:
        return Estimate(value, 0.0, min(source.degrees for source in sources))
    weights = sum(e**2 / source.degrees for e, source in zip(squares, sources, strict=True))
    return Estimate(value, math.sqrt(whole), whole**2 / weights)


def independent(a: Estimate, b: Estimate) -> Estimate:
    """a - b of numbers from independent images (Welch)."""
    return total(a.value - b.value, (a, b))


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
    is that of the means of their terms over the repetitions. Both are added, which counts the
    noise within a repetition twice and so errs on the wide side.

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
