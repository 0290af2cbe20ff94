"""Fidelity and variety by nearest neighbours: precision, recall, density and coverage.

Let B(a) be the ball about a feature vector a that reaches its K-th nearest neighbour in its own
set. With n test features x_i and m real ones y_j:

    precision  share of x_i in some B(y_j)                (Kynkäänniemi et al. 2019)
    recall     share of y_j in some B(x_i)                (the same)
    density    mean over i of #{j: x_i in B(y_j)} / K     (Naeem et al. 2020); may exceed 1
    coverage   share of y_j with some x_i in B(y_j)       (the same)

Precision and recall take K = 3 and the others K = 5, as in their papers. Precision and density are
means over the test images, whose terms are their influences; the interval of precision itself is
Wilson's, as a mean near 1 would undercover, and that of its change counts the images that changed
sides (`estimates.share_change`). The other two are means over the real images; the
jackknife takes from image i the real ones that it alone accounts for. For recall it holds the
balls of the other test images fixed. The real images are held fixed. docs/metrics.md has the
trials of these intervals, and where that of a change of precision must not be trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from bench.core.estimates import interval, share_change, share_interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement
from bench.core.shards import Shards, blocks

ROWS = 500
# Only the first real images are taken, as ADM's evaluator does.
REAL = 10_000
_KNOWN: dict[tuple[bytes, int], np.ndarray] = {}


def squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) of x (n, D) and y (m, D)."""
    distances = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    return np.maximum(distances, 0)


def radii(values: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each vector to its k-th nearest neighbour among the others, (n,)."""
    key = hashlib.sha256(np.ascontiguousarray(values).data).digest(), k
    if key not in _KNOWN:
        nearest = np.empty(len(values))
        for start in range(0, len(values), ROWS):
            block = squares(values[start : start + ROWS], values)
            # The nearest one is the vector itself.
            nearest[start : start + ROWS] = np.partition(block, k, axis=1)[:, k]
        _KNOWN[key] = nearest
    return _KNOWN[key]


def inside(x: np.ndarray, y: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Whether y_j lies within the reach (n,), squared, of x_i, bool (n, m)."""
    starts = range(0, len(x), ROWS)
    rows = [slice(start, start + ROWS) for start in starts]
    return np.concatenate([squares(x[row], y) <= reach[row, None] for row in rows])


def accounted(within: np.ndarray) -> tuple[float, np.ndarray]:
    """The share of columns with a true entry, and the jackknife influence of each row, (n,)."""
    counts = within.sum(0)
    alone = (within & (counts == 1)).sum(1) / within.shape[1]
    return float((counts > 0).mean()), (len(within) - 1) * (alone - alone.mean())


class _Neighbours:
    """Base of the four metrics: a name, K, and a share with its influences."""

    better = "higher"
    version = 1
    least = 6
    paired = False
    kinds = ("features",)
    needs = "features"
    name = ""
    k = 5

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the 95% interval over the draw of the images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each image, (N,)."""
        test, real = evidence.features, evidence.real_features
        assert real is not None
        known = np.asarray(real.values[:REAL], np.float64)
        value, terms = self.share(test.values, known)
        name, n = f"{self.name}_{test.extractor}@{len(terms)}", len(terms)
        ends = self.ends(value, terms)
        return Measurement(name, value, *ends, n, "", self.better, self.version), terms

    def ends(self, value: float, terms: np.ndarray) -> tuple[float | None, float | None]:
        """The ends of the 95% interval."""
        return interval(value, terms)

    def share(self, x: np.ndarray | Shards, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and the influences (n,) for test features x and real ones y."""
        raise NotImplementedError

    def near_real(self, x: np.ndarray | Shards, y: np.ndarray) -> Iterator[np.ndarray]:
        """Whether x_i lies in the ball of y_j, bool (n, m), some rows at a time."""
        reach = radii(y, self.k)
        for rows in blocks(x, ROWS):
            yield squares(rows, y) <= reach


class Precision(_Neighbours):
    """Share of the images that look real: `precision_<extractor>@N`."""

    name, k = "precision", 3
    version = 2

    def share(self, x: np.ndarray | Shards, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and the influences (n,)."""
        near = [block.any(1) for block in self.near_real(x, y)]
        inside = np.concatenate(near).astype(np.float64)
        return float(inside.mean()), inside - inside.mean()

    def ends(self, value: float, terms: np.ndarray) -> tuple[float | None, float | None]:
        """The ends of the 95% interval of a share."""
        return share_interval(value, len(terms))

    def change_ends(self, value: float, terms: np.ndarray) -> tuple[float | None, float | None]:
        """The ends of the 95% interval of a change of the share, from the paired terms."""
        return share_change(terms + value)


class Recall(_Neighbours):
    """Share of the real images that the model reaches: `recall_<extractor>@N`."""

    name, k = "recall", 3

    def share(self, x: np.ndarray | Shards, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and the influences (n,)."""
        x = np.asarray(x, np.float64)
        return accounted(inside(x, y, radii(x, self.k)))


class Density(_Neighbours):
    """How densely real images lie about the images: `density_<extractor>@N`."""

    name = "density"

    def share(self, x: np.ndarray | Shards, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and the influences (n,)."""
        counts = np.concatenate([block.sum(1) for block in self.near_real(x, y)]) / self.k
        return float(counts.mean()), counts - counts.mean()


class RealCoverage(_Neighbours):
    """Share of the real images that have an image near them: `coverage_<extractor>@N`."""

    name = "coverage"

    def share(self, x: np.ndarray | Shards, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and the influences (n,)."""
        return accounted(np.concatenate(list(self.near_real(x, y))))
