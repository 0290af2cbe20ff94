"""Fréchet distance at 2048 dimensions: bench's eigenvalues against clean-fid's matrix square root.

Both take the same statistics in the same process; printed are the ratio of the best times of
REPEATS calls and the relative difference of the values.

    OMP_NUM_THREADS=1 python benchmarks/frechet.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from cleanfid.fid import frechet_distance as clean_fid

from bench.measurement.features.moments import statistics
from bench.measurement.metrics.frechet import frechet_distance

DIMENSIONS, IMAGES, REPEATS = 2048, 5000, 2


def best(function: Callable[..., float], arguments: tuple[np.ndarray, ...]) -> tuple[float, float]:
    """(seconds of the fastest call, value)."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        value = float(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return min(seconds), value


def main() -> None:
    """Print both values, their relative difference and the ratio of times."""
    random = np.random.default_rng(0)
    mix = random.standard_normal((DIMENSIONS, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    first = random.standard_normal((IMAGES, DIMENSIONS)) @ mix
    second = 1.1 * random.standard_normal((IMAGES, DIMENSIONS)) @ mix + 0.05
    arguments = (*statistics(first), *statistics(second))
    own_seconds, own = best(frechet_distance, arguments)
    other_seconds, other = best(clean_fid, arguments)
    print(f"bench {own:.9g}, clean-fid {other:.9g}, relative difference {own / other - 1:.1e}")
    print(f"clean-fid / bench time: {other_seconds / own_seconds:.1f}")


if __name__ == "__main__":
    main()
