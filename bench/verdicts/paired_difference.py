"""The difference of a number between two methods that were measured on the same draw.

Image i is the same for all checkpoints, and so are the random directions: what two checkpoints
share cancels in the difference of their influences. Over several trainings of both methods the
images and directions remain the same, so that their error does not fall with the number of
trainings: it is that of the mean of the differences. How the trainings vary is a source of error
of its own (`estimates.Total`).

Values without influences (probes of schema 1) get the error of independent images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.core import estimates
from bench.core.probe_record import ProbeValue

Pair = tuple[ProbeValue, ProbeValue]


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference over a number of pairs of trainings; NaN where one value is NaN."""

    estimate: estimates.Estimate
    trainings: int


def paired_difference(
    pairs: Sequence[tuple[ProbeValue | None, ProbeValue | None]],
) -> PairedDifference | None:
    """The mean difference of a number between two methods.

    Args:
        pairs: the number's values for both methods, one pair for each training seed. Pairs with a
            missing value or different N are left out; if N varies, the largest is taken.

    Returns:
        None where no pair is left, or neither influences nor intervals are known.
    """
    kept = _comparable(pairs)
    if not kept:
        return None
    values = [a.value - b.value for a, b in kept]
    if not np.isfinite(values).all():
        return PairedDifference(estimates.Estimate(float("nan"), float("nan"), 1), len(kept))
    sources = _paired(kept) or _apart(kept)
    if not sources:
        return None
    if trainings := estimates.repeated(values):
        sources.append(trainings)
    return PairedDifference(estimates.total(float(np.mean(values)), sources), len(kept))


def difference_of_magnitudes(
    pairs: Sequence[tuple[ProbeValue | None, ProbeValue | None]],
) -> tuple[PairedDifference, float, float] | None:
    """The difference of magnitudes |A| - |B| of two signed numbers, with a conservative interval.

    Returns:
        The difference and the low and high end of its interval; None as for `paired_difference`.

    |A| - |B| is the smaller of |A - B| and |A + B|, with the product of their signs, and so lies
    between the values at the corners of their intervals. Sizes of estimates near 0 would be biased
    upwards, and their signs are not known.
    """
    opposite = [(a, b and turned(b)) for a, b in pairs]
    difference, total = paired_difference(pairs), paired_difference(opposite)
    if difference is None or total is None:
        return None
    ends = [
        _smaller(d, s) for d in difference.estimate.interval() for s in total.estimate.interval()
    ]
    value = _smaller(difference.estimate.value, total.estimate.value)
    estimate = replace(difference.estimate, value=value)
    return PairedDifference(estimate, difference.trainings), min(ends), max(ends)


def _smaller(a: float, b: float) -> float:
    return float(np.sign(a) * np.sign(b) * min(abs(a), abs(b)))


def turned(row: ProbeValue) -> ProbeValue:
    """The value with the other sign."""
    low, high = (None if end is None else -end for end in (row.high, row.low))
    terms, repeats = (tuple(-x for x in values) for values in (row.terms, row.repeats))
    return replace(row, value=-row.value, low=low, high=high, terms=terms, repeats=repeats)


def _comparable(pairs: Sequence[tuple[ProbeValue | None, ProbeValue | None]]) -> list[Pair]:
    equal = [(a, b) for a, b in pairs if a and b and a.n == b.n]
    largest = max((a.n for a, _ in equal), default=0)
    return [(a, b) for a, b in equal if a.n == largest]


def _paired(pairs: Sequence[Pair]) -> list[estimates.Estimate]:
    """Errors of the images and directions that all values share; [] without influences."""
    rows = [row for pair in pairs for row in pair]
    if len({(len(row.terms), len(row.repeats)) for row in rows}) != 1 or not rows[0].terms:
        return []
    sources = [
        estimates.estimate(0.0, np.mean([_less(a.terms, b.terms) for a, b in pairs], axis=0))
    ]
    if rows[0].repeats:
        repeats = np.mean([_less(a.repeats, b.repeats) for a, b in pairs], axis=0)
        sources.append(estimates.repeated(repeats))
    return [source for source in sources if source] if all(sources) else []


def _less(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    return np.subtract(a, b)


def _apart(pairs: Sequence[Pair]) -> list[estimates.Estimate]:
    """The errors from the intervals alone, as for independent images."""
    ends = [[estimates.from_interval(r.value, r.low, r.high, r.n) for r in pair] for pair in pairs]
    known = [estimates.independent(a, b) for a, b in ends if a and b]
    if len(known) < len(pairs):
        return []
    # Trainings share their images, so averaging does not reduce the error of the images.
    return [max(known, key=lambda source: source.error)]
