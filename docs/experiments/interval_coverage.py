"""Do the 95% intervals cover? Trials on real features whose expectation is known by repetition.

A stand-in for a generator draws N of the 10,000 real features at random and disturbs them a little
(sigma 0.25 of each feature's deviation); its quantized twin disturbs them more (shrunk by 3%, and
sigma 0.35). Real images are held fixed, as in a report. For each N and metric a row tells, over
TRIALS draws, the deviation of the value, the mean of its estimated standard error, and how often
the 95% interval contains the mean over all draws, that is the expectation at this N. The last
column is how often it contains the value at infinite N: for Fréchet distances that follows from
the moments of the stand-in, and the kernel distance has one expectation at every N.

    OMP_NUM_THREADS=1 python docs/experiments/interval_coverage.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.core import extensions
from bench.core.estimates import interval
from bench.core.protocols import Evidence, Features
from bench.measurement.features import reference
from bench.measurement.features.moments import statistics
from bench.measurement.metrics.frechet import frechet_distance

COUNTS = (200, 500, 1500)
METRICS = ("frechet", "kernel")
# In deviations of each feature, and the shrinkage of the quantized twin.
SPREAD, DAMAGE, SHRUNK = 0.25, 0.35, 0.97
TWIN, CHANGE = "twin,", "change of"
# Value, its estimated standard error, and the ends of its interval.
Numbers = tuple[float, float, float, float]


def draws(real: np.ndarray, count: int, trials: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(generated, quantized) features of each trial, (count, D) each."""
    random = np.random.default_rng(0)
    deviation = real.std(0)
    for _ in range(trials):
        chosen = real[random.integers(0, len(real), count)]
        full = chosen + SPREAD * deviation * random.standard_normal(chosen.shape)
        yield full, SHRUNK * full + DAMAGE * deviation * random.standard_normal(chosen.shape)


def limits(real: np.ndarray) -> dict[str, float]:
    """The Fréchet distance of the twin, and its change, at infinite N."""
    mu, sigma = statistics(real)
    noise = np.diag(real.std(0) ** 2)
    drawn = np.cov(real, rowvar=False, bias=True) + SPREAD**2 * noise
    damaged = SHRUNK**2 * drawn + DAMAGE**2 * noise
    twin = frechet_distance(SHRUNK * mu, damaged, mu, sigma)
    change = twin - frechet_distance(mu, drawn, mu, sigma)
    return {
        f"{what} {name}": value
        for name in ("frechet", "frechet_infinity")
        for what, value in ((TWIN, twin), (CHANGE, change))
    }


def print_rows(
    count: int, found: dict[str, list[Numbers]], form: str, at_infinity: dict[str, float]
) -> None:
    """Print a line for each number: its spread over the trials, its own error, its coverage."""
    for label, rows in found.items():
        values, errors, low, high = np.array(rows).T
        mean = values.mean()
        covered = np.mean((low < mean) & (mean < high))
        numbers = (mean, values.std(ddof=1), errors.mean())
        texts = " | ".join(format(number, form) for number in numbers)
        line = f"| {count} | {label} | {texts} | {covered:.1%} |"
        if label in at_infinity:
            limit = at_infinity[label]
            line += f" {np.mean((low < limit) & (limit < high)):.1%} |"
        elif at_infinity:
            line += f" {covered:.1%} |" if label.endswith("kernel") else " – |"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS)
    parser.add_argument("--real", type=int, default=10_000, help="real images that are used")
    given = parser.parse_args()
    trials = given.trials
    real = reference.load("fashion-mnist", "efficientnet")
    real = replace(real, values=real.values[: given.real])
    images = np.zeros((0, 1, 1, 1), np.uint8)
    at_infinity = limits(np.asarray(real.values, np.float64))
    print("| N | number | mean | deviation | estimated error | coverage | of N = infinity |")
    print("|---|---|---|---|---|---|---|")
    for count in given.counts:
        found: dict[str, list[Numbers]] = {}
        for pair in draws(real.values, count, trials):
            sets = [Features(real.extractor, real.version, v, np.arange(count)) for v in pair]
            for name in given.metrics:
                metric = extensions.lookup("metrics", name)()
                (value, terms), (twin, twin_terms) = (
                    metric.measure(Evidence(images, images, features, sets[0], real))
                    for features in reversed(sets)
                )
                for label, number, influence in (
                    (f"{TWIN} {name}", value.value, terms),
                    (f"{CHANGE} {name}", value.value - twin.value, terms - twin_terms),
                ):
                    error = influence.std(ddof=1) / np.sqrt(count)
                    ends = interval(number, influence)
                    found.setdefault(label, []).append((number, error, *ends))
        print_rows(count, found, ".3f", at_infinity)


if __name__ == "__main__":
    main()
