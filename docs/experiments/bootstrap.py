"""The analytic interval of a paired change against a bootstrap of 2,000 draws.

The images of one shipped checkpoint, in full precision and at W8A8 from the same noise (taken from
the cache of docs/experiments/gate.py where they are there). A draw takes N pairs with replacement
and measures the change of each distance again; the deviation over the draws is the bootstrap's
standard error. Beside it stands the error from the influences, as in a report.

The time at 1280 dimensions is that of one analytic error of the Fréchet distance by that of DRAWS
distances, on synthetic features, the distance being timed on REPEATS draws.

    OMP_NUM_THREADS=1 python docs/experiments/bootstrap.py --cache DIR
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.core import estimates
from bench.measurement.features import moments
from bench.measurement.metrics import frechet, kernel
from bench.system import store
from docs.experiments.recorded import record

DRAWS = 2000
REPEATS = 3
COUNTS = (500, 1500)


def fixed(real: np.ndarray) -> Callable[[np.ndarray], float]:
    """The Fréchet distance to fixed real features, whose root is taken once.

    The eigenvalues of R^T Sigma R, R R^T being the real covariance, are those of the product of
    both covariances, whichever of them is factored.
    """
    mu_2, sigma_2 = moments.statistics(real)
    root, total = frechet.factor(sigma_2), np.trace(sigma_2)

    def distance(values: np.ndarray) -> float:
        mu, sigma = moments.statistics(values)
        eigenvalues = np.linalg.eigvalsh(root.T @ sigma @ root)
        cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
        return float(np.square(mu - mu_2).sum() + np.trace(sigma) + total - 2 * cross)

    return distance


def resampled(values: np.ndarray, real: np.ndarray) -> Callable[[np.ndarray], float]:
    """The kernel distance (x 1000) of resampled features from one Gram matrix.

    The term of the real images alone is left out: it cancels in every change.
    """
    gram = (values @ values.T / values.shape[1] + 1) ** 3
    across, n = kernel.kernel_sums(values, real) / len(real), len(values)

    def distance(chosen: np.ndarray) -> float:
        counts = np.bincount(chosen, minlength=n).astype(float)
        within = counts @ gram @ counts - counts @ np.diag(gram)
        return 1e3 * float(within / (n * (n - 1)) - 2 * counts @ across / n)

    return distance


def errors(full: np.ndarray, quantized: np.ndarray, real: np.ndarray, draws: int) -> None:
    """Print both standard errors of both changes for one set of pairs."""
    n, random = len(full), np.random.default_rng(0)
    to_real = fixed(real)
    grams = resampled(quantized, real), resampled(full, real)
    found = []
    for _ in range(draws):
        chosen = random.integers(0, n, n)
        change = to_real(quantized[chosen]) - to_real(full[chosen])
        found.append((change, grams[0](chosen) - grams[1](chosen)))
    bootstrap = np.std(found, axis=0, ddof=1)
    others = moments.statistics(real)
    terms = {"fd": [frechet.influence(x, *others) for x in (quantized, full)]}
    terms["kd"] = [1e3 * kernel.kernel_distance(x, real)[1] for x in (quantized, full)]
    for k, (name, (after, before)) in enumerate(terms.items()):
        analytic = estimates.estimate(0.0, after - before).error
        ratio = analytic / bootstrap[k]
        print(f"| {n} | {name} | {analytic:.4f} | {bootstrap[k]:.4f} | {ratio:.3f} |", flush=True)


def speed(dim: int = 1280, n: int = 2000) -> None:
    """Print how many times longer the bootstrap takes than the influences."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((dim, dim)) / np.sqrt(dim)
    test, real = (random.standard_normal((n, dim)) @ mixing for _ in range(2))
    others, to_real = moments.statistics(real), fixed(real)

    def seconds(work: Callable[[], object]) -> float:
        times = []
        for _ in range(REPEATS):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return sorted(times)[REPEATS // 2]

    analytic = seconds(lambda: frechet.influence(test, *others))
    draw = seconds(lambda: to_real(test[random.integers(0, n, n)]))
    print(f"\n{dim} dimensions, N = {n}: {DRAWS * draw / analytic:.0f} times the processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--images", type=int, default=3000, help="as for gate.py")
    parser.add_argument("--cache", type=Path, default=store.cache_root())
    given = parser.parse_args()
    (full, quantized, _), real = record("fashion-unet-ema", given.images, given.cache)
    print("| N | change of | analytic error | bootstrap error | ratio |\n|---|---|---|---|---|")
    for count in COUNTS:
        errors(full.features[:count], quantized.features[:count], real.values, given.draws)
    speed()


if __name__ == "__main__":
    main()
