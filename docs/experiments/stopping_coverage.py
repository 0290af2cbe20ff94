"""Does the interval still cover where its width decided when to stop?

`bench run --precision` looks at the interval of a change after each round of images and stops
where its half width is at most the wanted one. Each trial draws a stand-in for a generator and its
quantized twin from the real features, up to the last planned N. The expectation of the change at
each N is the mean over all trials at that N, whether they stopped there or not, and an interval
covers where it contains the expectation at the N that it stopped at.

The wanted half widths are the worst ones: the median over the trials of the half width at each N,
so that half of those that come there stop. The rules: `width` stops on the 95% interval itself
(Chow and Robbins 1965), `spending` on, and then reports, the interval at 1 - 5% / K for K planned
looks (Bonferroni), which holds whatever decided to stop. `none` is a given N.

    OMP_NUM_THREADS=1 python docs/experiments/stopping_coverage.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bench.core import estimates, extensions
from bench.core.estimates import Estimate
from bench.core.protocols import Evidence, Features
from bench.measurement.features import reference

NO_IMAGES = np.zeros((0, 1, 1, 1), np.uint8)
KINDS = ("even", "rare")


def draws(real: np.ndarray, count: int, trials: int, kind: str) -> Iterator[list[np.ndarray]]:
    """(full precision, quantized) features of each trial, (count, D) each.

    "even" is the stand-in of `interval_coverage.py`; of "rare" the damage is that of one image in
    ten, threefold, so that the influences are skewed and value and width go together.
    """
    random, deviation = np.random.default_rng(0), real.std(0)
    for _ in range(trials):
        chosen = real[random.integers(0, len(real), count)]
        full = chosen + 0.25 * deviation * random.standard_normal(chosen.shape)
        damage = 0.35 * deviation * random.standard_normal(chosen.shape)
        if kind == "even":
            yield [full, 0.97 * full + damage]
        else:
            hit = random.random((count, 1)) < 0.1
            yield [full, full + 3 * hit * damage]


def looks(
    pair: Sequence[np.ndarray], real: Features, name: str, plan: Sequence[int]
) -> list[Estimate]:
    """The change of a metric at each planned N, as a run measures it."""
    metric, found = extensions.lookup("metrics", name)(), []
    for n in plan:
        sets = [Features(real.extractor, real.version, v[:n], np.arange(n)) for v in pair]
        (before, old), (after, new) = (
            metric.measure(Evidence(NO_IMAGES, NO_IMAGES, one, one, real)) for one in sets
        )
        found.append(estimates.estimate(after.value - before.value, new - old))
    return found


def reach(estimate: Estimate, level: float) -> float:
    """The half width of an interval."""
    return estimate.interval(level)[1] - estimate.value


def stopped(
    trials: Sequence[Sequence[Estimate]], truth: np.ndarray, wanted: float, level: float
) -> tuple[float, np.ndarray]:
    """(coverage, share of the trials that stopped at each look)."""
    covered, at = [], []
    for trial in trials:
        widths = [reach(estimate, level) for estimate in trial]
        k = next((k for k, width in enumerate(widths) if width <= wanted), len(trial) - 1)
        at.append(k)
        covered.append(abs(trial[k].value - truth[k]) <= widths[k])
    shares = np.bincount(at, minlength=len(truth)) / len(trials)
    return float(np.mean(covered)), shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--plan", nargs="+", type=int, default=(50, 100, 200, 400, 800))
    parser.add_argument("--first", nargs="+", type=int, default=(50, 200), help="least N")
    parser.add_argument("--metrics", nargs="+", default=("frechet", "kernel"))
    parser.add_argument("--real", type=int, default=2000, help="real images that are used")
    given = parser.parse_args()
    real = reference.load("fashion-mnist", "efficientnet")
    real = replace(real, values=np.asarray(real.values[: given.real]))
    print("| change of | damage | first N | rule | wanted | stopped at | coverage |")
    print("|---|---|---|---|---|---|---|")
    for name in given.metrics:
        for kind in KINDS:
            pairs = draws(np.asarray(real.values), given.plan[-1], given.trials, kind)
            trials = [looks(pair, real, name, given.plan) for pair in pairs]
            for first in given.first:
                report(trials, given.plan, first, f"{name} | {kind}")


def report(trials: Sequence[Sequence[Estimate]], plan: Sequence[int], first: int, of: str) -> None:
    """Print the rows of a metric: each rule at each wanted half width but the last."""
    start = list(plan).index(first)
    used = [trial[start:] for trial in trials]
    truth = np.array([[estimate.value for estimate in trial] for trial in used]).mean(0)
    for k, n in enumerate(plan[start:]):
        covers = [
            abs(trial[k].value - truth[k]) <= reach(trial[k], estimates.LEVEL) for trial in used
        ]
        print(f"| {of} | {first} | none | – | {n} | {np.mean(covers):.1%} |", flush=True)
    rules = {"width": estimates.LEVEL, "spending": 1 - (1 - estimates.LEVEL) / len(truth)}
    for rule, level in rules.items():
        for k in range(len(truth) - 1):
            wanted = float(np.median([reach(trial[k], level) for trial in used]))
            coverage, shares = stopped(used, truth, wanted, level)
            at = ", ".join(
                f"{n} ({s:.0%})" for n, s in zip(plan[start:], shares, strict=True) if s
            )
            print(
                f"| {of} | {first} | {rule} | {wanted:.3g} | {at} | {coverage:.1%} |", flush=True
            )


if __name__ == "__main__":
    main()
