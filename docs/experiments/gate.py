"""Can the gate be trusted? False alarms, power, and the widths of intervals, on recorded images.

One shipped checkpoint is sampled once in full precision, at W8A8 and at W6A8 (--images of each,
taken from the cache where they are there). Every trial draws two disjoint sets of N images from
these, so a set is a run of N images with other seeds, and is decided by the code that
`bench compare` runs, for every number that has a shipped threshold.

    A/A       two disjoint sets at W8A8: whatever is found is a false alarm
    power     W8A8 against W6A8, the same N images in both (paired) or the disjoint ones
    width     of an interval of two independent sets by that of pairs
    coverage  N pairs drawn with replacement: does the interval of the difference between W6A8 and
              W8A8 contain its mean over all trials?
    pools     how much the rate of false alarms differs from pool to pool

Given the images, trials are drawn independently, so the 95% interval of a share is that of a
binomial (Clopper and Pearson 1934). What it leaves out is that another pool has another rate:
"pools" draws pools of as many numbers from the recorded ones, tests as many disjoint pairs of each
and compares the deviation of the rates between pools with that of a binomial.

    OMP_NUM_THREADS=1 python docs/experiments/gate.py --cache DIR
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, ttest_ind

from bench.core import estimates
from bench.core.cell import Draw
from bench.core.protocols import Features
from bench.core.record import Coverage, Record, Run
from bench.core.scheme import Scheme
from bench.system import influences, store
from bench.system.host import fingerprint
from bench.system.runs import LoadedRun
from bench.verdicts import decisions
from bench.verdicts.comparison import Comparison, compare
from bench.verdicts.thresholds import load
from docs.experiments.recorded import DISTANCES, SHARES, Measure, Recorded, Terms, record

N = 500
SAME, PAIRED, DISJOINT = "A/A, W8A8, disjoint images", "the same images", "disjoint images"
VERDICTS = ("worse", "better", "unchanged", "inconclusive")
POOLS, WIDTHS = 300, 20


def side(full: Recorded, found: Terms, full_found: Terms, seed: int, scheme: Scheme) -> LoadedRun:
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
    return LoadedRun("run", Run("run", "", "", False, "", tuple(records)), terms)


def share(count: int, trials: int) -> str:
    """A share of the trials with its exact 95% interval."""
    ends = binomtest(count, trials).proportion_ci(0.95)
    return f"{count / trials:.1%} ({ends.low:.1%} to {ends.high:.1%})"


class Tally:
    """How often each number got each verdict, and how often the gate failed."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.gates: dict[str, bool] = {}
        self.failed = self.trials = 0

    def add(self, found: Comparison) -> None:
        """Count a trial."""
        self.trials += 1
        self.failed += found.code() == 1
        for row in found.rows:
            if row.change is not None and row.threshold is not None:
                self.gates[row.metric] = row.gated
                counts = self.counts.setdefault(row.metric, Counter())
                counts[row.verdict] += 1
                counts["p"] += decisions.two_sided(row.change) < decisions.ALPHA

    def print(self, title: str) -> None:
        """Print a table, gating numbers first."""
        print(f"{title}\n\n| metric | gates | p < 0.05 | {' | '.join(VERDICTS)} |")
        print("|---|---|---|" + "---|" * len(VERDICTS))
        for name in sorted(self.counts, key=lambda name: not self.gates[name]):
            counts = self.counts[name]
            cells = [f"{counts[verdict] / self.trials:.1%}" for verdict in VERDICTS]
            gates = "yes" if self.gates[name] else "no"
            tested = share(counts["p"], self.trials)
            print(f"| {name} | {gates} | {tested} | {' | '.join(cells)} |")
        failed = share(self.failed, self.trials)
        print(f"\nThe gate failed in {failed} of {self.trials} trials.\n", flush=True)


class Trials:
    """Draws trials and decides them."""

    def __init__(
        self, recorded: list[Recorded], real: Features, trials: int, metrics: Sequence[str]
    ) -> None:
        self.full, self.w8, self.w6 = recorded
        self.trials = trials
        self.limits, self.measured = load(), Measure(self.full, real, metrics)
        self.widths: dict[str, list[float]] = {}

    def subsets(self) -> Iterator[list[np.ndarray]]:
        """Two disjoint sets of N images for each trial."""
        random = np.random.default_rng(0)
        for _ in range(self.trials):
            order = random.permutation(len(self.full.features))
            yield [order[:N], order[N : 2 * N]]

    def side(self, of: Recorded, chosen: np.ndarray, seed: int, full: Terms) -> LoadedRun:
        """A run of the chosen images, always under the name of W8A8, as a gate sees it."""
        found = self.measured.alone(of, chosen)
        if len(self.widths.get("W6A8, fd", ())) < WIDTHS:
            self.width("W8A8" if of is self.w8 else "W6A8", found, full)
        found = self.measured.beside(of, chosen, found, full) | self.measured.twin(of, chosen)
        return side(self.full, found, full, seed, self.w8.cell.scheme)

    def decide(self) -> None:
        """Print the verdicts on A/A, and on W6A8 of the same and of other images."""
        tallies = {name: Tally() for name in (SAME, PAIRED, DISJOINT)}
        for chosen in self.subsets():
            full = [self.measured.alone(self.full, one) for one in chosen]
            base = self.side(self.w8, chosen[0], 0, full[0])
            heads = {
                SAME: self.side(self.w8, chosen[1], 1, full[1]),
                PAIRED: self.side(self.w6, chosen[0], 0, full[0]),
                DISJOINT: self.side(self.w6, chosen[1], 1, full[1]),
            }
            for name, head in heads.items():
                tallies[name].add(compare(base, head, self.limits))
        tallies[SAME].print(SAME)
        for name in (PAIRED, DISJOINT):
            tallies[name].print(f"W8A8 -> W6A8, {name}")
        print("| change against full precision | independent by paired width |\n|---|---|")
        for label, values in self.widths.items():
            print(f"| {label} | {np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f}) |")
        print(flush=True)

    def width(self, scheme: str, found: Terms, full: Terms) -> None:
        """How much wider intervals of independent sets are than those of these pairs."""
        for name, (_, terms) in found.items():
            twin_terms = full[name][1]
            wide = np.sqrt(terms.var(ddof=1) + twin_terms.var(ddof=1))
            ratio = wide / (terms - twin_terms).std(ddof=1)
            label = f"{scheme}, {name.split('_efficientnet')[0]}"
            self.widths.setdefault(label, []).append(ratio)

    def coverage(self) -> None:
        """Print how often the interval of W6A8 - W8A8 contains its mean over the trials."""
        random, found = np.random.default_rng(1), {}
        for _ in range(self.trials):
            chosen = random.integers(0, len(self.full.features), N)
            full = self.measured.kernel(self.full, chosen)
            old, new = (
                self.measured.beside(of, chosen, self.measured.kernel(of, chosen), full)
                for of in (self.w8, self.w6)
            )
            for name in set(new) - set(full):
                (before, terms), (after, new_terms) = old[name], new[name]
                change = estimates.estimate(after.value - before.value, new_terms - terms)
                found.setdefault(name, []).append((change.value, *change.interval()))
        print("| W6A8 - W8A8 of | mean | coverage |\n|---|---|---|")
        for name, rows in sorted(found.items()):
            values, low, high = np.array(rows).T
            mean = values.mean()
            covered = int(np.sum((low < mean) & (mean < high)))
            print(f"| {name} | {mean:.3f} | {share(covered, self.trials)} |")
        print(flush=True)

    def pools(self) -> None:
        """Print by how much the rates of false alarms differ between pools."""
        chosen = np.arange(len(self.full.features))
        (_, kernel), *_ = self.measured.kernel(self.w8, chosen).values()
        random, level = np.random.default_rng(2), decisions.ALPHA
        print(
            "| terms of | mean rate | deviation between pools | of a binomial |\n|---|---|---|---|"
        )
        for name, values in (("psnr", self.w8.psnr), ("kd", kernel)):
            rates = [self.rate(random.choice(values, len(values)), random) for _ in range(POOLS)]
            binomial = np.sqrt(level * (1 - level) / self.trials)
            print(f"| {name} | {np.mean(rates):.2%} | {np.std(rates):.2%} | {binomial:.2%} |")
        print(flush=True)

    def rate(self, pool: np.ndarray, random: np.random.Generator) -> float:
        """The share of disjoint pairs of sets of a pool that a test of their means tells apart."""
        order = random.permuted(np.tile(pool, (self.trials, 1)), axis=1)
        found = ttest_ind(order[:, :N], order[:, N : 2 * N], axis=1, equal_var=False)
        return float(np.mean(found.pvalue < decisions.ALPHA))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="fashion-unet-ema")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument(
        "--metrics", nargs="+", default=(*DISTANCES, *SHARES), help="besides kd, psnr and ssim"
    )
    parser.add_argument("--cache", type=Path, default=store.cache_root())
    parser.add_argument("parts", nargs="*", default=["decide", "coverage", "pools"])
    given = parser.parse_args()
    recorded = record(given.checkpoint, given.images, given.cache)
    trials = Trials(*recorded, given.trials, given.metrics)
    for part in given.parts:
        getattr(trials, part)()


if __name__ == "__main__":
    main()
