"""CMMD (Jayasumana et al. 2024): squared maximum mean discrepancy of CLIP embeddings.

With k(x, y) = exp(-|x - y|^2 / (2 SIGMA^2)), unit vectors x_i of n test images and y_j of m real
ones,

    d = sum_{ij} k(x_i, x_j) / n^2 + sum_{ij} k(y_i, y_j) / m^2 - 2 sum_{ij} k(x_i, y_j) / (n m)

is the V-statistic, diagonals included, as in the paper's code: never negative, and above its limit
by (1 - E k(x, x')) / n + (1 - E k(y, y')) / m. For the change under quantization that
bias cancels except for the difference of the two sides' E k.

Its interval comes from the jackknife, like that of `bench.measurement.metrics.kernel`: the
influence of test image i is (n-1) (mean d_(.) - d_(i)). It covers the draw of the test images at
this n; the real ones are held fixed.
"""

from __future__ import annotations

import hashlib

import numpy as np

from bench.core.shards import Shards
from bench.measurement.metrics.kernel import Kernel, block_sums, own_sums

SIGMA = 10.0
ROWS = 1000
_REAL_TERMS: dict[bytes, float] = {}


def kernel_sums(x: np.ndarray | Shards, y: np.ndarray | Shards) -> np.ndarray:
    """sum_j k(x_i, y_j) for each i, (n,), of x (n, D) and y (m, D), in blocks of ROWS x ROWS."""
    return block_sums(x, y, _gaussian, ROWS)


def _gaussian(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)
    squares -= 2 * x @ y.T
    return np.exp(-np.maximum(squares, 0) / (2 * SIGMA**2))


def _real_term(y: np.ndarray) -> float:
    """The term of the real images alone, kept as it is the same for every cell."""
    key = hashlib.sha256(np.ascontiguousarray(y).data).digest()
    if key not in _REAL_TERMS:
        _REAL_TERMS[key] = float(own_sums(y, _gaussian, ROWS).sum() / len(y) ** 2)
    return _REAL_TERMS[key]


def discrepancy(x: np.ndarray | Shards, y: np.ndarray | Shards) -> tuple[float, np.ndarray]:
    """MMD^2 and the influence of each test image on it.

    Args:
        x: embeddings of test images (n, D), n >= 2.
        y: embeddings of real images (m, D).

    Returns:
        (V-statistic, influences (n,) of mean 0).
    """
    n, y = len(x), np.asarray(y, np.float64)
    within, across = own_sums(x, _gaussian, ROWS), kernel_sums(x, y) / len(y)
    real = _real_term(y)
    value = within.sum() / n**2 + real - 2 * across.sum() / n
    # Image i is in its row and its column; the diagonal, k = 1, is in both.
    left_out = (within.sum() - 2 * within + 1) / (n - 1) ** 2
    left_out -= 2 * (across.sum() - across) / (n - 1)
    return float(value), (n - 1) * (left_out.mean() - left_out)


class Cmmd(Kernel):
    """MMD^2 of CLIP embeddings to the real images times 1000: `cmmd@N`, unit 1e-3."""

    kinds = ("embeddings",)
    distance = staticmethod(discrepancy)
