"""Can the gate be trusted? False alarms, power, and the widths of intervals, on recorded images.

One shipped checkpoint is sampled once in full precision, at W8A8 and at W6A8 (--images of each,
taken from the cache where they are there). Every trial draws its images from these, so a trial is
a run of N images with other seeds, and is decided by the code that `bench compare` runs.

    A/A       two disjoint sets of N at W8A8: whatever is found is a false alarm
    power     W8A8 against W6A8, the same N images in both (paired) or disjoint ones
    coverage  N pairs drawn with replacement: does the interval of the difference between W6A8 and
              W8A8 contain its mean over all trials?
    width     of an interval of two independent sets by that of pairs

    OMP_NUM_THREADS=1 python docs/experiments/gate.py --cache DIR
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import decisions, influences, registry, stats, store
from bench.comparison import Comparison, Side, compare
from bench.features import reference
from bench.host import fingerprint
from bench.metrics import kernel, paired
from bench.metrics.frechet import Frechet
from bench.pipeline import Pipeline
from bench.protocols import Evidence, Features
from bench.record import Coverage, Measurement, Record, Run
from bench.spec import Cell, Draw, Scheme, expand
from bench.thresholds import load

N = 500
GATED = ("kd_efficientnet", "delta_kd_efficientnet", "psnr", "ssim")
NO_IMAGES = np.zeros((0, 1, 1, 1), np.uint8)
Terms = dict[str, tuple[Measurement, np.ndarray]]


@dataclass(frozen=True)
class Recorded:
    """All images of a scheme: features (M, D), and likeness of each to its twin, (M,)."""

    cell: Cell
    features: np.ndarray
    psnr: np.ndarray
    ssim: np.ndarray


def record(name: str, images: int, cache: Path) -> tuple[list[Recorded], Features]:
    """Sample, or take from the cache: full precision, W8A8, W6A8; and the real features."""
    cards = registry.select(registry.load_cards(registry.card_file(None)), [name])
    schemes = [Scheme.parse("w8a8"), Scheme.parse("w6a8")]
    cells = expand([registry.verify(cards[0])], schemes, ["simulated"], Draw(images=images))
    pipeline = Pipeline(fingerprint(), cache)
    real = reference.load(cards[0].dataset, "efficientnet")
    twins, found = pipeline.stages.images(cells[0]), []
    for cell in cells:
        pixels = pipeline.stages.images(cell)
        features = pipeline.stages.features(cell, "efficientnet")
        likeness = (paired.per_image(f, pixels, twins) for f in (paired.psnr, paired.ssim))
        found.append(Recorded(cell, np.asarray(features.values), *likeness))
    return found, real


class Measure:
    """What a run of some images would measure, with the influences.

    The sums of the kernel over the real images are taken once for each recorded image.
    """

    def __init__(self, full: Recorded, real: Features) -> None:
        self.full, self.real = full, real
        y, m = real.values, len(real.values)
        self.term = float(kernel.others(y).sum() / (m * (m - 1)))
        self.across: dict[int, np.ndarray] = {}

    def distances(self, of: Recorded, chosen: np.ndarray) -> Terms:
        """The kernel distance of the chosen images to the real ones, as a run names it."""
        if id(of) not in self.across:
            sums = kernel.kernel_sums(of.features, self.real.values)
            self.across[id(of)] = sums / len(self.real.values)
        within, across = kernel.others(of.features[chosen]), self.across[id(of)][chosen]
        value, terms = kernel.combined(within, across, self.term)
        value, terms, n = 1e3 * value, 1e3 * terms, len(chosen)
        ends, name = stats.interval(value, terms), f"kd_{self.real.extractor}@{n}"
        return {name: (Measurement(name, value, *ends, n, "1e-3", "lower", 1), terms)}

    def frechet(self, of: Recorded, chosen: np.ndarray) -> Terms:
        """The Fréchet distance of the same."""
        name, version = self.real.extractor, self.real.version
        features = Features(name, version, of.features[chosen], chosen)
        evidence = Evidence(NO_IMAGES, NO_IMAGES, features, features, self.real)
        value, terms = Frechet().measure(evidence)
        return {value.name: (value, terms)}

    def __call__(self, of: Recorded, chosen: np.ndarray) -> Terms:
        """Distances, their changes against full precision, and likeness to it."""
        before, found = self.distances(self.full, chosen), self.distances(of, chosen)
        for name, (value, terms) in list(found.items()):
            twin, twin_terms = before[name]
            change = value.value - twin.value
            low, high = stats.interval(change, terms - twin_terms)
            delta = replace(value, name=f"delta_{name}", value=change, low=low, high=high)
            found[delta.name] = delta, terms - twin_terms
        for metric, values in ((paired.Psnr(), of.psnr), (paired.Ssim(), of.ssim)):
            value, terms = metric.mean(values[chosen])
            found[value.name] = value, terms
        return found


def side(full: Recorded, found: Terms, full_found: Terms, seed: int, scheme: Scheme) -> Side:
    """A run of full precision and one quantized cell, as read from disk."""
    records, terms = [], {}
    for is_full, numbers in ((True, full_found), (False, found)):
        cell = replace(full.cell, draw=Draw(images=N, seed=seed))
        if not is_full:
            cell = replace(cell, scheme=scheme, backend="simulated")
        coverage = Coverage(1, int(not is_full), 1, 1, 1, "none" if is_full else "simulated")
        values = tuple(value for value, _ in numbers.values())
        records.append(Record(cell, fingerprint(), "ok", coverage, values, {}))
        terms |= {influences.key(cell, name): t for name, (_, t) in numbers.items()}
    return Side("run", Run("run", "", "", False, "", tuple(records)), terms)


class Trials:
    """Draws trials and decides them."""

    def __init__(self, recorded: list[Recorded], real: Features, trials: int) -> None:
        self.full, self.w8, self.w6 = recorded
        self.real, self.trials = real, trials
        self.limits, self.measured = load(), Measure(self.full, real)

    def decided(self, a: np.ndarray, b: np.ndarray, head: Recorded, seed: int) -> Comparison:
        """W8A8 of the images `a` against `head` of `b`, under one name, as a gate sees them."""
        sides = []
        for chosen, of, own in ((a, self.w8, 0), (b, head, seed)):
            found, full = self.measured(of, chosen), self.measured.distances(self.full, chosen)
            sides.append(side(self.full, found, full, own, self.w8.cell.scheme))
        return compare(*sides, self.limits)

    def subsets(self, count: int) -> Iterator[list[np.ndarray]]:
        """`count` disjoint sets of N images for each trial."""
        random = np.random.default_rng(0)
        for _ in range(self.trials):
            order = random.permutation(len(self.full.features))
            yield [order[k * N : (k + 1) * N] for k in range(count)]

    def tally(self, run: Callable[[list[np.ndarray]], Comparison], count: int) -> None:
        """Print how often each metric got each verdict, and how often the gate failed."""
        rows: dict[str, Counter[str]] = {name: Counter() for name in GATED}
        gate = 0
        for chosen in self.subsets(count):
            found = run(chosen)
            gate += found.code() == 1
            for row in found.rows:
                if row.metric in rows:
                    rows[row.metric][row.verdict] += 1
                    rows[row.metric]["p < 0.05"] += decisions.two_sided(row.change) < 0.05
        columns = ("p < 0.05", "worse", "better", "unchanged", "inconclusive")
        print(f"| metric | {' | '.join(columns)} |\n|---|" + "---|" * len(columns))
        for name, counts in rows.items():
            shares = " | ".join(f"{counts[column] / self.trials:.1%}" for column in columns)
            print(f"| {name} | {shares} |")
        print(
            f"\nThe gate failed in {gate / self.trials:.1%} of {self.trials} trials.\n", flush=True
        )

    def widths(self) -> None:
        """Print how much wider an interval of two independent sets is than that of pairs."""
        ratios: dict[str, list[float]] = {}
        for chosen, *_ in itertools.islice(self.subsets(1), 20):
            for label, of in (("W8A8", self.w8), ("W6A8", self.w6)):
                found, before = (
                    self.measured.distances(r, chosen) | self.measured.frechet(r, chosen)
                    for r in (of, self.full)
                )
                for name, (_, terms) in found.items():
                    twin_terms = before[name][1]
                    wide = np.sqrt(terms.var(ddof=1) + twin_terms.var(ddof=1))
                    ratio = wide / (terms - twin_terms).std(ddof=1)
                    ratios.setdefault(f"{label}, {name[:2]}", []).append(ratio)
        print("| change against full precision | independent by paired width |\n|---|---|")
        for label, values in ratios.items():
            print(f"| {label} | {np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f}) |")
        print(flush=True)

    def coverage(self) -> None:
        """Print how often the interval of W6A8 - W8A8 contains its mean over the trials."""
        random, found = np.random.default_rng(1), {}
        for _ in range(self.trials):
            chosen = random.integers(0, len(self.full.features), N)
            numbers = [self.measured(of, chosen) for of in (self.w8, self.w6)]
            for name, (value, terms) in numbers[1].items():
                if name.split("@")[0] in GATED:
                    before, old = numbers[0][name]
                    change = stats.estimate(value.value - before.value, terms - old)
                    found.setdefault(name, []).append((change.value, *change.interval()))
        print("| W6A8 - W8A8 of | mean | coverage |\n|---|---|---|")
        for name, rows in found.items():
            values, low, high = np.array(rows).T
            mean = values.mean()
            print(f"| {name} | {mean:.3f} | {np.mean((low < mean) & (mean < high)):.1%} |")
        print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="fashion-unet-ema")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=store.cache_root())
    parser.add_argument("parts", nargs="*", default=["same", "power", "coverage"])
    given = parser.parse_args()
    trials = Trials(*record(given.checkpoint, given.images, given.cache), given.trials)
    if "same" in given.parts:
        print("A/A, W8A8, disjoint images\n")
        trials.tally(lambda sets: trials.decided(sets[0], sets[1], trials.w8, 1), 2)
        trials.widths()
    if "power" in given.parts:
        print("W8A8 -> W6A8, the same images\n")
        trials.tally(lambda sets: trials.decided(sets[0], sets[0], trials.w6, 0), 1)
        print("W8A8 -> W6A8, disjoint images\n")
        trials.tally(lambda sets: trials.decided(sets[0], sets[1], trials.w6, 1), 2)
    if "coverage" in given.parts:
        trials.coverage()


if __name__ == "__main__":
    main()
