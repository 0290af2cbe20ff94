"""The difference of a number between two methods that were measured on the same draw.

Image i (or random vector i) is the same for all checkpoints, and so are the random directions:
what they share cancels in the difference of the influences. Over several trainings of both methods
the images and directions remain the same, so that their error does not fall with the number of
trainings: it is that of the mean of the differences. How the trainings vary is added
(`stats.total`); this counts the noise within a training twice and so errs on the wide side.

Rows without influences (probes of schema 1) get Welch's interval, as of independent images, which
is wider still.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench import stats
from bench.explanation import Row


def between(pairs: Sequence[tuple[Row, Row]]) -> stats.Estimate | None:
    """The mean difference of a number between two methods.

    Args:
        pairs: the number's rows of both methods, one pair for each training.

    Returns:
        The estimate; None where neither influences nor intervals are known.
    """
    sources = _paired(pairs) or _apart(pairs)
    if not sources:
        return None
    values = [a.value - b.value for a, b in pairs]
    trainings = stats.repeated(values)
    return stats.total(float(np.mean(values)), [*sources, *([trainings] if trainings else [])])


def _paired(pairs: Sequence[tuple[Row, Row]]) -> list[stats.Estimate]:
    """Errors of the images and of the random directions that all rows share; none without."""
    rows = [row for pair in pairs for row in pair]
    if len({(len(row.terms), len(row.repeats)) for row in rows}) != 1 or not rows[0].terms:
        return []
    found = [stats.estimate(0.0, np.mean([_less(a.terms, b.terms) for a, b in pairs], axis=0))]
    if rows[0].repeats:
        repeats = np.mean([_less(a.repeats, b.repeats) for a, b in pairs], axis=0)
        found.append(stats.repeated(repeats))
    return [source for source in found if source] if all(found) else []


def _less(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    return np.subtract(a, b)


def _apart(pairs: Sequence[tuple[Row, Row]]) -> list[stats.Estimate]:
    """The same from the intervals alone, as of independent images."""
    ends = [[stats.from_interval(r.value, r.low, r.high, r.n) for r in pair] for pair in pairs]
    known = [stats.independent(a, b) for a, b in ends if a and b]
    if not known or len(known) < len(pairs):
        return []
    # Trainings share their images: no average takes the error of the images away.
    return [max(known, key=lambda source: source.error)]
