"""How often is a verdict at any stopping time false, and how many images does it save?

Three tables for docs/gate.md:

`errors`: streams of influences whose mean is 0, with a margin of 0 or not, looked at after every
image from the first look on. 1,000 streams of each of four shapes, and 200 streams resampled from
each quantized cell's influences on the change of the kernel distance in the committed runs.
A stream errs where worse (w > m) or equivalent (|w| < m) is shown at any look and is not so.
Beside it the same by the fixed-N interval, looked at as often.

`distances`: kernel and Fréchet distances themselves, which are means of their influences to first
order only: stand-ins for a generator and its quantized twin, from the real features, measured anew
at each look of the rule. The margin is the expected change itself, where either verdict is false.
For the other run, `--against`, the number of the first n images is the one that
`margins.against` takes from all.

`images`: for each quantized cell of the committed runs, streams resampled from its influences with
its own change and margin (3% of full precision): N at which the rule stops, the fixed N that shows
the same as often (at most in 95%) if the change were known beforehand, and the fixed N of a plan
that is to decide (in 95%) also where nothing is lost.

    OMP_NUM_THREADS=1 python docs/experiments/anytime.py errors distances images
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from bench.core.estimates import LEVEL
from bench.core.record import Record
from bench.measurement.features import reference
from bench.measurement.metrics import kernel
from bench.system import influences
from bench.system.runs import read_run, run_folders
from bench.verdicts import confidence_sequences, margins
from bench.verdicts.thresholds import Threshold
from bench.verdicts.until_decided import UntilDecided

METRIC = "delta_kd_efficientnet"
SHARE = Threshold(relative=0.03)
Draw = Callable[[int, int], np.ndarray]
FIXED = float(ndtri((1 + LEVEL) / 2))


def cells(reports: Path) -> Iterator[tuple[Record, margins.Worsening]]:
    """The quantized cells of all runs with N = 500 that kept their influences."""
    for folder in run_folders(reports):
        run, terms = read_run(folder), influences.load(folder / influences.NAME)
        for record in run.records:
            change = record.measurement(METRIC)
            if change and change.n == 500 and influences.key(record.cell, change.name) in terms:
                yield record, margins.of_cell(record, terms, METRIC, SHARE)


def running(
    draws: np.ndarray, looks: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(means, standard errors, lower ends, upper ends) of streams (S, N) at each look, (S, L)
    each, ends as `Sequence.interval` has them; z are the multiples of the standard error."""
    first, second, third = (np.cumsum(draws**k, axis=1)[:, looks - 1] / looks for k in (1, 2, 3))
    variance = second - first**2
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    errors = np.sqrt(variance / (looks - 1))
    below, above = confidence_sequences.skewed(looks, skewness, z)
    return first, errors, first - below * errors, first + above * errors


def shown(low: np.ndarray, high: np.ndarray, margin: float) -> np.ndarray:
    """(worse, equivalent) at any look, shares of the streams."""
    worse = low > margin
    equivalent = (high < margin) & (low > -margin)
    return np.array([worse.any(1).mean(), equivalent.any(1).mean()])


def errors(given: argparse.Namespace) -> None:
    """Print the table of false verdicts of streams."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[Draw, int]] = {
        "normal": (lambda s, n: random.standard_normal((s, n)), given.streams),
        "Student, 5 degrees": (lambda s, n: random.standard_t(5, (s, n)), given.streams),
        "Student, 3 degrees": (lambda s, n: random.standard_t(3, (s, n)), given.streams),
        "log-normal": (lambda s, n: random.lognormal(0, 1, (s, n)) - math.exp(0.5), given.streams),
    }
    found = [worsening.above[1] for _, worsening in cells(given.reports)]
    print("| streams | first look | w = m: worse | equivalent | w = 0: worse | fixed N: worse |")
    print("|---|---|---|---|---|---|")
    for first in given.first:
        looks = np.arange(first, given.last + 1)
        z = confidence_sequences.two_sided(looks)
        fixed = np.full(len(looks), FIXED)
        for name, (draw, count) in shapes.items():
            row = trial(draw(count, given.last), looks, z, fixed)
            print(f"| {name} | {first} | {' | '.join(f'{share:.1%}' for share in row)} |")
        rows = []
        for terms in found:
            sample = terms[random.integers(0, len(terms), (given.real, given.last))]
            rows.append(trial(sample - terms.mean(), looks, z, fixed))
        for name, row in (("real", np.mean(rows, 0)), ("real, worst cell", np.max(rows, 0))):
            label = f"{name} ({len(found)} cells)"
            text = " | ".join(f"{share:.1%}" for share in row)
            print(f"| {label} | {first} | {text} |", flush=True)
        # The worst of many cells is mostly chance: the same cells again, with new streams.
        for k, verdict in ((0, "worse"), (1, "equivalent")):
            terms = found[int(np.argmax([row[k] for row in rows]))]
            again = []
            for _ in range(given.again):
                sample = terms[random.integers(0, len(terms), (given.streams, given.last))]
                again.append(trial(sample - terms.mean(), looks, z, fixed))
            text = " | ".join(f"{share:.1%}" for share in np.mean(again, 0))
            label = f"real, the cell of most false {verdict}, again"
            print(f"| {label} | {first} | {text} |", flush=True)


def trial(draws: np.ndarray, looks: np.ndarray, z: np.ndarray, fixed: np.ndarray) -> list[float]:
    """Shares of false verdicts of streams of mean 0: worse and equivalent where the change is the
    margin, worse where it is 0 and the margin two standard errors of N = 500, and worse by the
    interval of a fixed N where the change is the margin."""
    means, error, low, high = running(draws, looks, z)
    size = 2 * draws.std() / math.sqrt(500)
    # The margin far from -m, so that equivalent is as easy as it can be.
    far = 1e3 * size
    at_margin = shown(low + far, high + far, far)
    peeked = shown(means + far - fixed * error, means + far + fixed * error, far)
    return [*at_margin, shown(low, high, size)[0], peeked[0]]


def images(given: argparse.Namespace) -> None:
    """Print the table of images needed."""
    random = np.random.default_rng(0)
    rule = UntilDecided(given.last, 50, SHARE)
    looks = np.array(rule.counts())
    z = confidence_sequences.two_sided(looks)
    rows: dict[str, list[list[float]]] = {}
    for record, worsening in cells(given.reports):
        value, terms = worsening.above
        picked = random.integers(0, len(terms), (given.real, given.last))
        _, _, low, high = running(terms[picked] - terms.mean() + value, looks, z)
        other, below = worsening.below
        _, _, least, most = running(below[picked] - below.mean() + other, looks, z)
        is_equivalent = (high < 0) & (least > 0)
        decided = (low > 0) | is_equivalent | (most < 0)
        ends = np.where(decided.any(1), looks[decided.argmax(1)], given.last)
        power = decided.any(1).mean()
        spread = float(terms.std())
        # One-sided power of the fixed-N test of a known change, no less than the first look.
        reach = FIXED + float(ndtri(min(max(power, 0.5), 0.95)))
        known = max((reach * spread / max(abs(value), 1e-9)) ** 2, rule.sequence.first)
        # Both ends of the interval must lie within the margin where nothing is lost.
        plan = ((FIXED + float(ndtri(0.975))) * spread / worsening.margin) ** 2
        scheme = str(record.cell.scheme)
        numbers = [ends.mean(), np.quantile(ends, 0.9), known, plan, power, abs(value) / spread]
        rows.setdefault(scheme, []).append(numbers)
    print("| scheme | cells | effect | decided | mean N | 90% by N | known change | any change |")
    print("|---|---|---|---|---|---|---|---|")
    for scheme, numbers in rows.items():
        for name, pick in (("median", np.median), ("hardest", None)):
            table = np.array(numbers)
            row = pick(table, axis=0) if pick else table[table[:, 0].argmax()]
            mean, late, known, plan, power, effect = row
            print(
                f"| {scheme}, {name} | {len(table)} | {effect:.2f} | {power:.1%} | {mean:.0f} | "
                f"{late:.0f} | {known:.0f} | {plan:.0f} |"
            )
        half = (np.array(numbers)[:, 0] <= 250).mean()
        print(f"{scheme}: at most half of 500 images in {half:.0%} of the cells")


def twins(real: np.ndarray, count: int, random: np.random.Generator) -> list[np.ndarray]:
    """Features (count, D) of a stand-in and its quantized twin, as in `stopping_coverage.py`."""
    deviation = real.std(0)
    chosen = real[random.integers(0, len(real), count)]
    full = chosen + 0.25 * deviation * random.standard_normal(chosen.shape)
    damage = 0.35 * deviation * random.standard_normal(chosen.shape)
    return [full, 0.97 * full + damage]


def distances(given: argparse.Namespace) -> None:
    """Print the table of false verdicts of the distances themselves."""
    from bench.measurement.features import moments
    from bench.measurement.metrics import frechet

    random = np.random.default_rng(0)
    features = np.asarray(reference.load("fashion-mnist", "efficientnet").values, np.float64)
    # Of the largest variance, so that a trial takes a tenth of a second.
    chosen = np.argsort(features.var(0))[-given.dimensions :]
    real = features[: given.real_images, chosen]
    looks = np.array(UntilDecided(given.most, 50).counts())
    term = kernel.others(real).sum() / (len(real) * (len(real) - 1))
    statistics = moments.statistics(real)
    values = {name: np.zeros((given.trials, len(looks), 2)) for name in ("kernel", "frechet")}
    linear = np.zeros((given.trials, len(looks)))
    for trial_number in range(given.trials):
        pair = twins(real, given.most, random)
        sums = [(x @ x.T / x.shape[1] + 1) ** 3 for x in pair]
        across = [kernel.kernel_sums(x, real) / len(real) for x in pair]
        for matrix in sums:
            np.fill_diagonal(matrix, 0)
        whole: tuple[float, np.ndarray] | None = None
        for k, n in reversed(list(enumerate(looks))):
            (a, s), (b, t) = (
                kernel.combined(m[:n, :n].sum(1), y[:n], term)
                for m, y in zip(sums, across, strict=True)
            )
            values["kernel"][trial_number, k] = b - a, (t - s).std(ddof=1) / math.sqrt(n)
            whole = whole or (b - a, t - s)
            linear[trial_number, k] = b - a - (whole[0] + whole[1][:n].mean())
            (a, s), (b, t) = (frechet.distance_and_influence(x[:n], *statistics) for x in pair)
            values["frechet"][trial_number, k] = b - a, (t - s).std(ddof=1) / math.sqrt(n)
    z = confidence_sequences.two_sided(looks)
    print("| change of | margin | worse | equivalent | fixed N: worse | equivalent |")
    print("|---|---|---|---|---|---|")
    for name, found in values.items():
        value, error = found[..., 0], found[..., 1]
        for label, margin in (
            ("its expectation at each N", value.mean(0)),
            (f"that at N = {looks[-1]}", value.mean(0)[-1]),
        ):
            shares = []
            for reach in (z * error, FIXED * error):
                shares += [
                    (value - reach > margin).any(1).mean(),
                    (value + reach < margin).any(1).mean(),
                ]
            text = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {name} | {label} | {text} |", flush=True)
    error = values["kernel"][..., 1]
    for k, n in enumerate(looks):
        print(
            f"N = {n}: change of the kernel distance {values['kernel'][:, k, 0].mean():.3g}, "
            f"error {error[:, k].mean():.2g}, of the first n from all {linear[:, k].mean():+.2g} "
            f"with deviation {linear[:, k].std():.2g}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", choices=("errors", "distances", "images"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--real", type=int, default=200, help="streams of each real cell")
    parser.add_argument("--again", type=int, default=4, help="thousands of streams of the worst")
    parser.add_argument("--first", nargs="+", type=int, default=(50, 100, 200))
    parser.add_argument("--last", type=int, default=5000, help="the budget")
    parser.add_argument("--trials", type=int, default=200, help="of the distances")
    parser.add_argument("--most", type=int, default=1000, help="images of such a trial")
    parser.add_argument("--dimensions", type=int, default=48)
    parser.add_argument("--real-images", type=int, default=2000)
    given = parser.parse_args()
    for name in given.tables:
        {"errors": errors, "distances": distances, "images": images}[name](given)


if __name__ == "__main__":
    main()
