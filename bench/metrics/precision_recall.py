"""Precision and recall of generated images (Kynkäänniemi et al. 2019).

The manifold of a set is the union of balls about its images that reach to their K-th nearest
neighbour in the set. Precision is the share of generated images in the manifold of the real ones,
recall the share of real images in that of the generated ones. Of the real images at most REAL are
taken, spread evenly, as OpenAI's evaluator of ADM takes 10,000; all generated ones are.

Precision is a mean over independent images, which gives its interval; recall has none yet, as the
manifold itself is drawn.
"""

from __future__ import annotations

import numpy as np

from bench.protocols import Evidence
from bench.record import Measurement
from bench.shards import Shards, blocks
from bench.stats import interval

K = 3
REAL = 10_000


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x_i - y_j|^2, (n, m), of x (n, D) and y (m, D), at least 0."""
    found = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    return np.maximum(found, 0)


def radii(values: np.ndarray | Shards, k: int = K) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row, (N,)."""
    found = []
    for block in blocks(values):
        best = np.full((len(block), k + 1), np.inf)
        for others in blocks(values):
            near = np.concatenate([best, squared_distances(block, others)], axis=1)
            best = np.partition(near, k, axis=1)[:, : k + 1]
        # The nearest of all is the row itself.
        found.append(best.max(1))
    return np.concatenate(found)


def within(
    test: np.ndarray | Shards, values: np.ndarray | Shards, reach: np.ndarray
) -> np.ndarray:
    """Whether each test row lies in the manifold of `values` (N, D) with squared radii, bool."""
    found = []
    for block in blocks(test):
        inside, start = np.zeros(len(block), bool), 0
        for others in blocks(values):
            limit = reach[start : start + len(others)]
            inside |= (squared_distances(block, others) <= limit).any(1)
            start += len(others)
        found.append(inside)
    return np.concatenate(found)


def real_rows(evidence: Evidence) -> np.ndarray:
    """At most REAL of the real features, spread evenly."""
    assert evidence.real_features is not None
    values = np.asarray(evidence.real_features.values)
    step = -(-len(values) // REAL)
    return values[::step]


class Precision:
    """Share of the images that look real: `precision_<extractor>@N`."""

    better = "higher"
    version = 1
    least = K + 1
    paired = False
    kinds = ("features",)
    needs = "features"

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the 95% interval over the draw of the images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each image, (N,)."""
        real, test = real_rows(evidence), evidence.features
        inside = within(test.values, real, radii(real)).astype(np.float64)
        value, n = float(inside.mean()), len(inside)
        terms = inside - value
        name = f"precision_{test.extractor}@{n}"
        ends = interval(value, terms)
        return Measurement(name, value, *ends, n, "", self.better, self.version), terms


class Recall:
    """Share of the real images that the generated ones cover: `recall_<extractor>@N`."""

    better = "higher"
    version = 1
    least = K + 1
    paired = False
    kinds = ("features",)
    needs = "features"

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, without an interval."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; there are no influences."""
        test = evidence.features
        inside = within(real_rows(evidence), test.values, radii(test.values))
        n, value = len(test.values), float(inside.mean())
        name = f"recall_{test.extractor}@{n}"
        found = Measurement(name, value, None, None, n, "", self.better, self.version)
        return found, np.full(n, np.nan)
