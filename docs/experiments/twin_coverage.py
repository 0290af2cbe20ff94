"""Does the interval of the distance to the twins cover it, also near its boundary at zero?

Full-precision images are stood in for by real features, each drawn with replacement and spread by
noise; their quantized twins by what KINDS says: noise of a given share of each dimension's
deviation, a shift, or some images that turned into others of the same distribution, so that the
true distance is zero and all that is measured is bias. A row tells, over TRIALS draws, the mean of
the distance, its deviation, the mean of its estimated error, and how often the 95% interval
contains the mean over all draws, that is the expectation at this N. The last rows are differences
of two kinds on the same full-precision images, as `bench compare` pairs them.

    OMP_NUM_THREADS=1 python docs/experiments/twin_coverage.py
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.core.estimates import interval
from bench.measurement.features import reference
from bench.measurement.metrics.frechet import twin_distance
from docs.experiments.interval_coverage import Numbers, print_rows

COUNTS = (200, 500, 1500)
KINDS = (
    *("noise 0.0005", "noise 0.03", "noise 0.35", "shift 0.1"),
    *("turned 0.01", "turned 0.05", "turned 0.3"),
)
PAIRS = (("noise 0.03", "noise 0.05"), ("noise 0.35", "turned 0.05"))


def quantized(
    full: np.ndarray,
    kind: str,
    others: np.ndarray,
    deviation: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Features (N, D) of the quantized twins.

    Args:
        full, others: of the full-precision images and of further ones, (N, D).
        deviation: of the real images in each dimension, (D,).
    """
    noise = deviation * random.standard_normal(full.shape)
    word, size = kind.split()
    if word == "noise":
        return full + float(size) * noise
    if word == "shift":
        return full + float(size) * (deviation + 0.1 * noise)
    turned = random.random(len(full)) < float(size)
    return np.where(turned[:, None], others, full + 0.01 * noise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS)
    given = parser.parse_args()
    real = np.asarray(reference.load("fashion-mnist", "efficientnet").values, np.float64)
    deviation, random = real.std(0), np.random.default_rng(0)
    print("| N | quantization | mean | deviation | estimated error | coverage |")
    print("|---|---|---|---|---|---|")
    for count in given.counts:
        found: dict[str, list[Numbers]] = {}
        for _ in range(given.trials):
            chosen = real[random.integers(0, len(real), (2, count))]
            full, others = chosen + 0.25 * deviation * random.standard_normal(chosen.shape)
            kinds = dict.fromkeys((*KINDS, *(kind for pair in PAIRS for kind in pair)))
            measured = {
                kind: twin_distance(quantized(full, kind, others, deviation, random), full)
                for kind in kinds
            }
            numbers = {kind: measured[kind] for kind in KINDS}
            for a, b in PAIRS:
                change = measured[b][0] - measured[a][0], measured[b][1] - measured[a][1]
                numbers[f"{b} - {a}"] = change
            for kind, (value, terms) in numbers.items():
                error = terms.std(ddof=1) / np.sqrt(count)
                found.setdefault(kind, []).append((value, error, *interval(value, terms)))
        print_rows(count, found, ".3g", {})


if __name__ == "__main__":
    main()
