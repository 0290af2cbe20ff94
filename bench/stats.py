"""Intervals from what each image adds to a number.

A metric of N independent images is, to first order, a mean: its value moves by terms_i / N when
image i is drawn anew (the influence function of the metric; Hampel 1974). So its standard error is
the standard deviation of the terms by sqrt(N), and that of a *change* between two sets of images
that pair up by index is that of the differences of their terms: what both images of a pair share,
above all their noise, cancels. docs/metrics.md has the measured coverage.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


def interval(value: float, terms: np.ndarray) -> tuple[float | None, float | None]:
    """The ends of the 95% Student interval of a number.

    Args:
        value: the number.
        terms: the influence of each image on it, (N,), independent; NaN where undefined.

    Returns:
        (low, high), both None for fewer than three images or undefined terms.
    """
    n = len(terms)
    if n < 3 or not np.isfinite(terms).all():
        return None, None
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2) * terms.std(ddof=1) / np.sqrt(n))
    return value - reach, value + reach
