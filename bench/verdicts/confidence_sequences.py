"""Intervals that hold at every look at once, so that sampling may stop when the answer is known.

An interval for a given N misses the truth in 5% of the runs; looked at again and again it misses
sooner or later. A confidence sequence misses it *ever* in at most 5%, whatever decides to stop.

After n images with influences of standard deviation s_n, the number is known to
+- z_n s_n / sqrt(n), where z_n is that of Robbins' normal mixture (Robbins 1970; Howard et al.
2021), tuned for N images, and a is the error that is allowed:

    z_n^2 = (1 + r / n) (2 log(1 / a) + log((n + r) / r)),   r = N / (b + log(1 + b)),
                                                             b = 2 log(1 / a)

z_n is least near n = N and rises as sqrt(log n) beyond. For sums of normal numbers of known
variance this is exact at every n. Ours are influences, of another shape, with s_n in place of
the variance, and a Fréchet or kernel distance is the mean of its influences to first order only,
with a rest of the order 1 / n. So this is an *asymptotic* confidence sequence (Waudby-Smith,
Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic
confidence sequences"): what is stated holds from a first look on, as the N of that look grows.
Where influences are skewed it fades slowest, so there the interval is widened (`skewed`).
docs/gate.md has the measured rates.

The package `confseq` computes the same mixture; it comes as C++ that needs a compiler and Boost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.core.estimates import LEVEL

# The N that the mixture is tuned for, and the least N of a look, from the trials in docs/gate.md.
TUNED = 500
FIRST = 100
WORSE, EQUIVALENT, BETTER, UNDECIDED = "worse", "equivalent", "better", "undecided"


def mixture(level: float, tuned: int) -> float:
    """r of the mixture whose two-sided sequence is about as narrow as can be at `tuned` images."""
    b = 2 * math.log(1 / (1 - level))
    return tuned / (b + math.log1p(b))


def two_sided(n: ArrayLike, level: float = LEVEL, tuned: int = TUNED) -> np.ndarray:
    """z_n of the sequence that misses the truth to either side, ever, with 1 - level.

    Args:
        n: numbers of images, any shape, at least 1.
        level: of the whole sequence, above 0 and below 1.
        tuned: the N at which it is to be narrow.

    Returns:
        Standard errors of each half width, in the shape of n.
    """
    count, r = np.asarray(n, np.float64), mixture(level, tuned)
    ratio = r / count
    return np.sqrt((1 + ratio) * (2 * math.log(1 / (1 - level)) + np.log1p(1 / ratio)))


def skewed(n: ArrayLike, skewness: ArrayLike, z: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors of the interval's half widths where influences are skewed.

    Of n influences with a long tail to one side, most samples lack the tail: mean and deviation
    are both too small, and the interval ends too early on that side. By the expansion of Cornish
    and Fisher (Hall 1992, "The bootstrap and Edgeworth expansion", 3.8) the end on the side of the
    tail, z standard errors away, belongs

        |skewness| (2 z^2 + 1) / (6 sqrt(n))

    standard errors further out. The other end, which could come nearer, stays.

    Args:
        n: numbers of images, at least 1.
        skewness: of the influences, third central moment by the cubed deviation.
        z: standard errors of each half width where they are not skewed.

    Returns:
        (below, above), in the shape of the arguments.
    """
    skewness, z = np.asarray(skewness, np.float64), np.asarray(z, np.float64)
    further = (2 * z**2 + 1) / (6 * np.sqrt(np.asarray(n, np.float64)))
    return z + further * np.maximum(-skewness, 0), z + further * np.maximum(skewness, 0)


@dataclass(frozen=True)
class Sequence:
    """A two-sided confidence sequence.

    Attributes:
        level: the chance, at least, that it covers the truth at every look.
        tuned: the N at which it is to be narrow.
        first: the least N of a look; before it there is no interval.
    """

    level: float = LEVEL
    tuned: int = TUNED
    first: int = FIRST

    def interval(self, value: float, terms: np.ndarray) -> tuple[float, float] | None:
        """The interval at a look.

        Args:
            value: the number, of all images so far.
            terms: the influence of each of them on it, (n,).

        Returns:
            (low, high); None before the first look, with undefined influences, and where they
            are all alike: what no image moved has no error that is known.
        """
        n = len(terms)
        if n < max(self.first, 3) or not (np.isfinite(terms).all() and math.isfinite(value)):
            return None
        error = float(terms.std(ddof=1)) / math.sqrt(n)
        if error == 0:
            return None
        centred = terms - terms.mean()
        skewness = float((centred**3).mean() / (centred**2).mean() ** 1.5)
        below, above = skewed(n, skewness, two_sided(n, self.level, self.tuned))
        return value - float(below) * error, value + float(above) * error


def decide(
    above: tuple[float, float] | None, below: tuple[float, float] | None = None, margin: float = 0
) -> str:
    """What two-sided intervals of a worsening w say about a margin m.

    worse: w > m; better: w < -m; equivalent: -m < w < m; undecided: none of these is shown. All of
    them are read off the same intervals, each of which misses to one side with half of its error:
    so the chance of *any* false verdict is that error, that of a false worse and that of a false
    equivalent half of it each, and of w exactly at the margin both together.

    Args:
        above: interval of w - m where the margin has an error of its own, as a share of a measured
            number has; else of w, with `margin`.
        below: interval of w + m; by default w has the interval `above`.
        margin: m, at least 0, where it is a given number.

    Returns:
        One of WORSE, EQUIVALENT, BETTER, UNDECIDED.
    """
    below = above if below is None else below
    if above is None or below is None:
        return UNDECIDED
    if above[0] > margin:
        return WORSE
    if below[1] < -margin:
        return BETTER
    return EQUIVALENT if above[1] < margin and below[0] > -margin else UNDECIDED
