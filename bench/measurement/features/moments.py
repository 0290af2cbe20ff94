"""Mean and covariance of features, read block by block."""

from __future__ import annotations

import numpy as np

from bench.core.shards import Shards, blocks


def statistics(values: np.ndarray | Shards) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D) of features (N, D), N >= 2, in two passes."""
    mean = sum(block.sum(0) for block in blocks(values)) / len(values)
    sigma = np.zeros((len(mean), len(mean)))
    for block in blocks(values):
        centred = block - mean
        sigma += centred.T @ centred
    return mean, sigma / (len(values) - 1)
