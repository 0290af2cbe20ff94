"""Kernel distance of two sets of features: the squared maximum mean discrepancy (MMD^2).

With k(x, y) = (x.y / D + 1)^3 (Bińkowski et al. 2018, the kernel of KID) and n test features x_i
and m real ones y_j, the U-statistic

    d = sum_{i != j} k(x_i, x_j) / (n (n-1)) + sum_{i != j} k(y_i, y_j) / (m (m-1))
        - 2 sum_{ij} k(x_i, y_j) / (n m)

has no bias at any n, so it can be negative. All images enter, without random subsets.

Its interval comes from the jackknife (Arvesen 1969): with d_(i) being d without test image i, that
image's influence is (n-1) (mean d_(.) - d_(i)). It covers the draw of the test images; the real
images are held fixed, the same ones in every row. The jackknife does not understate the
error of a U-statistic (Efron and Stein 1981); where both sets are of one distribution it is too
wide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from bench.core import distances
from bench.core.estimates import interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement
from bench.core.shards import Shards, blocks

ROWS = 1000
_REAL_TERMS: dict[bytes, float] = {}


def kernel_sums(x: np.ndarray | Shards, y: np.ndarray | Shards) -> np.ndarray:
    """sum_j k(x_i, y_j) for each i, (n,), of x (n, D) and y (m, D), in blocks of ROWS x ROWS."""
    return block_sums(x, y, _cubic, ROWS)


def block_sums(
    x: np.ndarray | Shards,
    y: np.ndarray | Shards,
    kernel: Callable[[np.ndarray, np.ndarray], np.ndarray],
    size: int,
) -> np.ndarray:
    """sum_j k(x_i, y_j) for each i, (n,), of any kernel of rows (a, D) and columns (b, D)."""
    sums = np.zeros(len(x))
    for start, rows in zip(range(0, len(x), size), blocks(x, size), strict=True):
        for columns in blocks(y, size):
            sums[start : start + size] += kernel(rows, columns).sum(1)
    return sums


def own_sums(
    x: np.ndarray | Shards, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], size: int
) -> np.ndarray:
    """sum_j k(x_i, x_j) for each i, (n,), of any symmetric kernel: each pair of blocks once."""
    sums = np.zeros(len(x))
    for start, rows in zip(range(0, len(x), size), blocks(x, size), strict=True):
        sums[start : start + size] += kernel(rows, rows).sum(1)
        for other in range(start + size, len(x), size):
            columns = np.asarray(x[other : other + size], np.float64)
            # No matrix of the kernel is kept while the next one is computed.
            across, down = _both_sums(kernel(rows, columns))
            sums[start : start + size] += across
            sums[other : other + size] += down
    return sums


def _both_sums(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.sum(1), values.sum(0)


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T / x.shape[1] + 1
    return base * base * base


def others(x: np.ndarray | Shards) -> np.ndarray:
    """sum_{j != i} k(x_i, x_j) for each i, (n,)."""
    own = [(np.square(rows).sum(1) / x.shape[1] + 1) ** 3 for rows in blocks(x, ROWS)]
    return own_sums(x, _cubic, ROWS) - np.concatenate(own)


def _real_term(y: np.ndarray) -> float:
    """The term of the real images alone, kept as it is the same for every cell."""
    key = hashlib.sha256(np.ascontiguousarray(y).data).digest()
    if key not in _REAL_TERMS:
        _REAL_TERMS[key] = float(others(y).sum() / (len(y) * (len(y) - 1)))
    return _REAL_TERMS[key]


def kernel_distance(x: np.ndarray | Shards, y: np.ndarray | Shards) -> tuple[float, np.ndarray]:
    """Unbiased MMD^2 and the influence of each test image on it.

    Args:
        x: features of test images (n, D), n >= 2.
        y: features of real images (m, D), m >= 2.

    Returns:
        (distance, influences (n,) of mean 0); the influences are NaN below n = 3.
    """
    y = np.asarray(y, np.float64)
    return combined(others(x), kernel_sums(x, y) / len(y), _real_term(y))


def combined(within: np.ndarray, across: np.ndarray, real: float) -> tuple[float, np.ndarray]:
    """The distance and influences from the sums of the kernel.

    Args:
        within: sum_{j != i} k(x_i, x_j) of each test image, (n,).
        across: mean_j k(x_i, y_j) of each, (n,).
        real: the term of the real images alone.
    """
    n = len(within)
    value = within.sum() / (n * (n - 1)) + real - 2 * across.sum() / n
    if n < 3:
        return float(value), np.full(n, np.nan)
    left_out = (within.sum() - 2 * within) / ((n - 1) * (n - 2))
    left_out -= 2 * (across.sum() - across) / (n - 1)
    return float(value), (n - 1) * (left_out.mean() - left_out)


class Kernel:
    """Kernel distance to the real images times 1000: `kd_<extractor>@N`, `kid@N`, unit 1e-3."""

    better = "lower"
    version = 1
    least = 2
    paired = False
    kinds = ("features",)
    needs = "features"
    distance = staticmethod(kernel_distance)

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the 95% jackknife interval from three images on."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each image, (N,)."""
        test = evidence.features
        assert evidence.real_features is not None
        value, terms = self.distance(test.values, evidence.real_features.values)
        value, terms = 1e3 * value, 1e3 * terms
        n, ends = len(terms), interval(value, terms)
        name = f"{distances.kernel(test.extractor)}@{n}"
        return Measurement(name, value, *ends, n, "1e-3", self.better, self.version), terms
