"""Verdicts on a difference with an error: worse, better, unchanged, or inconclusive.

w is how much worse a number became, in its own unit, and delta the least w that matters.

- worse: w is significantly above 0 *and* at least delta; better: the same for -w.
- unchanged: equivalence is shown by two one-sided tests (Schuirmann 1987), that is, the 90%
  interval of w lies inside (-delta, delta).
- inconclusive: neither. The N that would decide is the one at which, if w stays as it was
  estimated, the interval is narrow enough for one of the above; half widths fall as 1/sqrt(N).

Many rows are tested at once: significance is corrected by Holm (1979), which keeps the chance of
any false "worse" or "better" among all rows below 5%. Equivalence is claimed row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.core.estimates import Estimate

ALPHA = 0.05
MOST_IMAGES = 10_000_000


def two_sided(worsening: Estimate) -> float:
    """Two-sided p that the number did not change."""
    nearer = min(worsening.chance_above(0.0), worsening.flipped().chance_above(0.0))
    return min(1.0, 2 * nearer)


def holm(chances: Sequence[float]) -> list[float]:
    """Holm's adjusted p of each of several tests, in their order."""
    adjusted, largest, count = [1.0] * len(chances), 0.0, len(chances)
    for rank, k in enumerate(sorted(range(count), key=chances.__getitem__)):
        largest = max(largest, min(1.0, (count - rank) * chances[k]))
        adjusted[k] = largest
    return adjusted


def equivalent(worsening: Estimate, threshold: float) -> bool:
    """Whether w is shown to lie between -threshold and threshold."""
    below = worsening.flipped().chance_above(-threshold)
    return max(below, worsening.chance_above(-threshold)) < ALPHA


def decide(worsening: Estimate, threshold: float, adjusted: float) -> str:
    """ "worse", "better", "unchanged" or "inconclusive".

    Args:
        worsening: w, positive where the number became worse.
        threshold: the least w that matters, at least 0.
        adjusted: p of no difference, adjusted for all rows that are tested.
    """
    if worsening.value == worsening.error == 0:
        return "unchanged"
    if adjusted < ALPHA and abs(worsening.value) >= threshold:
        return "worse" if worsening.value > 0 else "better"
    return "unchanged" if equivalent(worsening, threshold) else "inconclusive"


def needed(worsening: Estimate, threshold: float, n: int, tests: int = 1) -> int | None:
    """The N that would decide an inconclusive row if w stays as it is; None beyond MOST_IMAGES.

    Args:
        worsening, threshold: as for `decide`.
        n: the N of the estimate.
        tests: rows tested at once; the first step of Holm divides the level by them.
    """
    w = abs(worsening.value)
    if w >= threshold:
        level, room = 1 - ALPHA / tests, w
    else:
        level, room = 1 - 2 * ALPHA, threshold - w
    low, high = worsening.interval(level)
    # The comparison is written so that a ratio of NaN (an interval without ends) gives None too.
    if room <= 0 or not (ratio := (high - low) / 2 / room) <= MOST_IMAGES:
        return None
    count = math.ceil(n * ratio**2)
    return max(count, n + 1) if count <= MOST_IMAGES else None
