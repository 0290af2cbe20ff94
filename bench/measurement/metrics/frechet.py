"""Fréchet distance of two sets of features, each summarized by mean mu and covariance Sigma.

    d = |mu_1 - mu_2|^2 + Tr Sigma_1 + Tr Sigma_2 - 2 Tr (Sigma_1 Sigma_2)^{1/2}

(Dowson and Landau 1982). With any F of F F^T = Sigma_1, the nonzero eigenvalues of Sigma_1 Sigma_2
are those of the symmetric F^T Sigma_2 F, so the last trace is the sum of their square roots. That
needs no square root of a general matrix, stays real, and holds where a covariance is singular
(fewer images than dimensions).

The distance has a positive bias that falls about as 1/N: compare equal N only. It is named after
its extractor; the name FID is kept for Inception features.

Its interval comes from the influence of each test image x on it, the derivative of d as x is given
more weight. With T the optimal map from the one Gaussian to the other, T Sigma_1 T = Sigma_2,

    d(x) = 2 (mu_1 - mu_2).(x - mu_1) + (x - mu_1)^T (I - T) (x - mu_1) - Tr (I - T) Sigma_1.

It covers the draw of the test images at this N, bias and real images held fixed.

The distance between two sets that pair up, images and their twins, moves by the sum of the
influences of both images of a pair, the map of the second being that from the other Gaussian.
"""

from __future__ import annotations

import numpy as np

from bench.core import distances
from bench.core.estimates import interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement
from bench.core.shards import Shards, blocks
from bench.measurement.features.moments import statistics


def factor(sigma: np.ndarray) -> np.ndarray:
    """F of shape (D, R) with F F^T = sigma (D, D), R its numerical rank."""
    values, vectors = np.linalg.eigh(sigma)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])


def frechet_distance(
    mu_1: np.ndarray, sigma_1: np.ndarray, mu_2: np.ndarray, sigma_2: np.ndarray
) -> float:
    """Fréchet distance of two Gaussians, computed in float64.

    Args:
        mu_1, mu_2: means (D,).
        sigma_1, sigma_2: covariances (D, D), symmetric, of any rank.

    Returns:
        The squared distance, at least 0 up to rounding.
    """
    mu_1, mu_2 = np.asarray(mu_1, np.float64), np.asarray(mu_2, np.float64)
    sigma_1, sigma_2 = np.asarray(sigma_1, np.float64), np.asarray(sigma_2, np.float64)
    root = factor(sigma_1)
    eigenvalues = np.linalg.eigvalsh(root.T @ sigma_2 @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    shift = mu_1 - mu_2
    return float(shift @ shift + np.trace(sigma_1) + np.trace(sigma_2) - 2 * cross)


def roots(values: np.ndarray | Shards) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mu (D,), F (D, R), F^+ (R, D)) of features (N, D), F F^T being their covariance of rank R.

    Below N = D the singular values of the features give them, without a D x D matrix.
    """
    n, dim = values.shape
    if n > dim:
        mu, sigma = statistics(values)
        squares, axes = np.linalg.eigh(sigma)
    else:
        rows = np.asarray(values, np.float64)
        mu = rows.mean(0)
        _, spread, across = np.linalg.svd((rows - mu) / np.sqrt(n - 1), full_matrices=False)
        squares, axes = np.square(spread[::-1]), across[::-1].T
    kept = squares > dim * np.finfo(np.float64).eps * squares[-1]
    axes, spread = axes[:, kept], np.sqrt(squares[kept])
    return mu, axes * spread, (axes / spread).T


def distance_and_influence(
    values: np.ndarray | Shards, mu_2: np.ndarray, sigma_2: np.ndarray
) -> tuple[float, np.ndarray]:
    """Distance to a Gaussian, and the influence of each test image on it.

    Args:
        values: features of the test images (N, D), N >= 2.
        mu_2, sigma_2: mean (D,) and covariance (D, D) of the other set.

    Returns:
        (distance, float64 (N,) of mean 0).
    """
    mu_1, root, inverse = roots(values)
    squares, axes = np.linalg.eigh(root.T @ sigma_2 @ root)
    weights, shift = np.sqrt(np.maximum(squares, 0)), mu_1 - mu_2
    traces = np.square(root).sum() + np.trace(sigma_2)
    distance = shift @ shift + traces - 2 * weights.sum()
    # T = F^{+T} (F^T Sigma_2 F)^{1/2} F^+, so x^T T x is a sum of squares along these axes.
    to_axes = inverse.T @ axes
    linear, quadratic = [], []
    for block in blocks(values):
        centred = block - mu_1
        linear.append(2 * centred @ shift)
        quadratic.append(np.square(centred).sum(1) - np.square(centred @ to_axes) @ weights)
    curved = np.concatenate(quadratic)
    return float(distance), np.concatenate(linear) + curved - curved.mean()


def influence(values: np.ndarray | Shards, mu_2: np.ndarray, sigma_2: np.ndarray) -> np.ndarray:
    """Influence of each test image on the distance to a Gaussian, (N,) of mean 0."""
    return distance_and_influence(values, mu_2, sigma_2)[1]


def twin_distance(
    values: np.ndarray | Shards, twins: np.ndarray | Shards
) -> tuple[float, np.ndarray]:
    """Distance between two sets of paired images, and the influence of each pair on it.

    Args:
        values, twins: features (N, D), N >= 2; row i of both was made from the same noise.

    Returns:
        (distance, float64 (N,) of mean 0).
    """
    distance, terms = distance_and_influence(values, *statistics(twins))
    return distance, terms + influence(twins, *statistics(values))


def real_gaussian(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of the real images' features."""
    if evidence.real_statistics is not None:
        return evidence.real_statistics.mu, evidence.real_statistics.sigma
    assert evidence.real_features is not None
    return statistics(evidence.real_features.values)


class Frechet:
    """Distance of the images' features to those of real images: `fd_<extractor>@N`, `fid@N`."""

    better = "lower"
    version = 1
    least = 2
    paired = False
    kinds = ("features", "spatial")
    needs = "statistics"

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the 95% interval over the draw of the images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each image, (N,)."""
        test = evidence.features
        value, terms = distance_and_influence(test.values, *real_gaussian(evidence))
        n, ends = len(terms), interval(value, terms)
        name = f"{distances.frechet(test.extractor)}@{n}"
        return Measurement(name, value, *ends, n, "", self.better, self.version), terms


class FrechetTwin:
    """Distance of the images' features to those of their twins: `fd_twin_<extractor>@N`.

    Both sets come from the same noise, so most of the sampling error and of the bias cancels. The
    interval holds near the boundary at 0, as twins move together; it errs on the wide side, except
    where only one or two of the images are damaged (trials in docs/metrics.md).
    """

    better = "lower"
    version = 1
    least = 2
    paired = True
    kinds = ("features",)
    needs = ""

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the 95% interval over the draw of the pairs."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each pair, (N,)."""
        test, twin = evidence.features, evidence.twin_features
        value, terms = twin_distance(test.values, twin.values)
        n, ends = len(terms), interval(value, terms)
        name = f"fd_twin_{test.extractor}@{n}"
        measurement = Measurement(
            name, value, *ends, n, "", self.better, self.version, self.paired
        )
        return measurement, terms
