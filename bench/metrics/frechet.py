"""Fréchet distance of two sets of features, each summarized by mean mu and covariance Sigma.

    d = |mu_1 - mu_2|^2 + Tr Sigma_1 + Tr Sigma_2 - 2 Tr (Sigma_1 Sigma_2)^{1/2}

(Dowson and Landau 1982). With any F of F F^T = Sigma_1, the nonzero eigenvalues of Sigma_1 Sigma_2
are those of the symmetric F^T Sigma_2 F, so the last trace is the sum of their square roots. That
needs no square root of a general matrix, stays real, and holds where a covariance is singular
(fewer images than dimensions).

The distance has a positive bias that falls about as 1/N: compare equal N only. It is named after
its extractor; the name FID is kept for Inception features, which these are not.
"""

from __future__ import annotations

import numpy as np

from bench.protocols import Evidence
from bench.record import Measurement


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


def statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D) of features (N, D), N >= 2."""
    values = np.asarray(values, np.float64)
    return values.mean(0), np.atleast_2d(np.cov(values, rowvar=False))


class Frechet:
    """Distance of the images' features to those of real images: `fd_<extractor>@N`."""

    better = "lower"
    version = 1
    least = 2
    paired = False

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure; without an interval, as resampled images would repeat and shift the bias."""
        test, real = evidence.features, evidence.real_features
        value = frechet_distance(*statistics(test.values), *statistics(real.values))
        name, n = f"fd_{test.extractor}", len(test.values)
        return Measurement(
            f"{name}@{n}", value, None, None, n, "", self.better, self.version, self.paired
        )


class FrechetTwin:
    """Distance of the images' features to those of their twins: `fd_twin_<extractor>@N`.

    Both sets come from the same noise, so most of the sampling error and of the bias cancels.
    """

    better = "lower"
    version = 1
    least = 2
    paired = True

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure; exactly equal sets give 0 up to rounding."""
        test, twin = evidence.features, evidence.twin_features
        value = frechet_distance(*statistics(test.values), *statistics(twin.values))
        name, n = f"fd_twin_{test.extractor}", len(test.values)
        return Measurement(
            f"{name}@{n}", value, None, None, n, "", self.better, self.version, self.paired
        )
