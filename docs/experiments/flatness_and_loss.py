"""Do flatter checkpoints lose less? Rank correlations over all trainings, for docs/probes.md.

    python docs/experiments/flatness_and_loss.py RUN PROBES.json [PROBES.json ...]

Each flatness number of the probes against the change of KD that quantization brings in RUN, for
each scheme of it that is named below. Spearman's correlation is taken four ways:

- over all checkpoints;
- within trainings: over the methods of one training seed, mean over the seeds;
- over methods: between the means of the methods over their trainings;
- within methods: over the trainings of one method, mean over the methods. What is left here is not
  that one method differs from another.

Raw, EMA and SWA weights of one training are not independent, so that intervals are by a bootstrap
of whole training seeds (percentiles of 2,000 draws). Eight clusters are few: such intervals are
somewhat too narrow. The p value is that of the correlation within trainings, if the losses of a
training were dealt to its methods at random, two-sided; Holm's adjustment is over all lines of the
table. It knows of no methods: one method that is the flattest and loses least in every training is
enough to make it small.

Then the differences in flatness between SAM and the other methods, over the same trainings
(`bench.verdicts.claims.differences`).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from methods_table import loaded
from scipy import stats

from bench.core import probe_record
from bench.core.cell import Draw
from bench.core.probe_record import ProbeRun
from bench.core.scheme import Scheme
from bench.verdicts import claims, decisions

METHODS = ("baseline", "ema", "swa", "sam", "sam+ema")
BEST = "tgroups=8+adaround"
SCHEMES = ("w4a8", "w8a8", f"w4a8+{BEST}", f"w8a8+{BEST}")
DRAWS = 2_000
# Methods or trainings that a correlation is taken over at least; a number that fewer trainings
# have makes no line.
LEAST = 4
Point = tuple[float, float]
# (flatness, loss) by method and training seed.
Points = Mapping[tuple[str, int], Point]


def together(paths: Iterable[str]) -> ProbeRun:
    """Several files of probes as one; of a checkpoint in two, the first counts.

    Raises:
        SystemExit: they were made with different sizes or versions of the probes.
    """
    runs = [probe_record.read(Path(path)) for path in paths]
    seen: set[str] = set()
    parts, versions = [], {}
    for run in runs:
        fresh = [part for part in run.parts if part.checkpoint not in seen]
        seen |= {part.checkpoint for part in fresh}
        parts += fresh
        if sizes(run) != sizes(runs[0]):
            raise SystemExit("the files of probes have different settings")
        for part in fresh:
            if versions.setdefault(part.probe, part.version) != part.version:
                raise SystemExit(f"the files have different versions of {part.probe}")
    return dataclasses.replace(runs[0], parts=tuple(parts))


def sizes(run: ProbeRun) -> dict[str, object]:
    """The setting; fields of the draw that an earlier bench did not have are at their defaults."""
    return {**run.setting, "draw": Draw(**run.setting["draw"])}


def losses(runs: Sequence[str], backend: str) -> dict[str, dict[str, float]]:
    """The change of KD by scheme and checkpoint."""
    records, terms = loaded(runs, backend)
    found: dict[str, dict[str, float]] = {}
    for record in records:
        value = claims.loss_of(record, "delta_kd", terms)
        if value is not None:
            of_scheme = found.setdefault(str(record.cell.scheme), {})
            of_scheme[record.cell.checkpoint.name] = value.value
    return found


def points(
    probed: ProbeRun, title: str, lost: Mapping[str, float]
) -> dict[tuple[str, int], Point]:
    """The checkpoints that have both numbers."""
    found = {}
    for part in probed.parts:
        row = claims.flatness(probed, part.checkpoint, title)
        if row and part.method in METHODS and part.checkpoint in lost:
            found[part.method, part.seed] = row.value, lost[part.checkpoint]
    return found


def rho(rows: Sequence[Point]) -> float:
    """Spearman's correlation; NaN below LEAST points or without any spread."""
    if len(rows) < LEAST:
        return math.nan
    x, y = (stats.rankdata(column) for column in zip(*rows, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def grouped(found: Points, seeds: Sequence[int], by_seed: bool) -> list[list[Point]]:
    """The points of each training, or of each method with each training as often as drawn."""
    if by_seed:
        return [[found[m, s] for m in METHODS if (m, s) in found] for s in seeds]
    return [[found[m, s] for s in seeds if (m, s) in found] for m in METHODS]


def four(
    found: Points, seeds: Sequence[int], within: Mapping[int, float] | None = None
) -> np.ndarray:
    """The four correlations of some training seeds, in the order of the text above.

    Args:
        within: those of each training, where they are known.
    """
    if within is None:
        within = each_training(found)
    by_method = grouped(found, seeds, False)
    middle = [tuple(np.mean(group, axis=0)) for group in by_method if group]
    return np.array(
        [
            rho([point for group in by_method for point in group]),
            _mean([within[seed] for seed in seeds]),
            rho(middle),
            _mean([rho(group) for group in by_method]),
        ]
    )


def each_training(found: Points) -> dict[int, float]:
    """The correlation over the methods of each training seed."""
    seeds = sorted({seed for _, seed in found})
    return dict(zip(seeds, map(rho, grouped(found, seeds, True)), strict=True))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def bootstrap(found: Points, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """The four correlations, and the ends of their 95% intervals, (2, 4)."""
    seeds = sorted({seed for _, seed in found})
    generator = np.random.default_rng(0)
    within = each_training(found)
    chosen = generator.choice(seeds, (draws, len(seeds))).tolist()
    drawn = [four(found, each, within) for each in chosen]
    with warnings.catch_warnings():
        # Of a correlation that there are too few trainings for.
        warnings.simplefilter("ignore", RuntimeWarning)
        return four(found, seeds), np.nanpercentile(drawn, [2.5, 97.5], axis=0)


def chance(found: Points, draws: int = 20_000) -> float:
    """p of the mean correlation within trainings, by permutations within each training."""
    generator = np.random.default_rng(0)
    seen, drawn = [], []
    for group in grouped(found, sorted({seed for _, seed in found}), True):
        if math.isfinite(value := rho(group)):
            x, y = (stats.zscore(stats.rankdata(column)) for column in zip(*group, strict=True))
            dealt = generator.permuted(np.tile(y, (draws, 1)), axis=1)
            seen.append(value)
            drawn.append(dealt @ x / len(x))
    # Equal up to rounding counts as equal.
    extreme = np.abs(np.mean(drawn, axis=0)) >= abs(np.mean(seen)) - 1e-9
    return float((1 + extreme.sum()) / (1 + draws))


def table(probed: ProbeRun, lost: Mapping[str, Mapping[str, float]], draws: int) -> None:
    """Print the correlations."""
    lines = []
    for scheme in SCHEMES:
        of_scheme = lost.get(str(Scheme.parse(scheme)), {})
        for title in claims.FLATNESS:
            found = points(probed, title, of_scheme)
            if len({seed for _, seed in found}) >= LEAST:
                lines.append((scheme, title, found, *bootstrap(found, draws), chance(found)))
    adjusted = decisions.holm([p for *_, p in lines])
    print(
        "| loss of KD at | flatness | checkpoints | all | within trainings | p, Holm | "
        "over methods | within methods |\n|" + "---|" * 8
    )
    for (scheme, title, found, values, ends, _), p in zip(lines, adjusted, strict=True):
        cells = [
            f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
            for value, low, high in zip(values, *ends, strict=True)
        ]
        cells.insert(2, f"{p:.2g}")
        print(f"| {scheme} | {title} | {len(found)} | " + " | ".join(cells) + " |")


def flatter(probed: ProbeRun) -> None:
    """Print how much flatter SAM is than the others, over the trainings."""
    print("\n| number | SAM less | trainings | difference, 95% | verdict |\n|" + "---|" * 5)
    for line in claims.differences(probed):
        ends = f"{line.value:+.3g} [{line.low:+.3g}, {line.high:+.3g}]"
        print(f"| {line.number} | {line.against} | {line.trainings} | {ends} | {line.verdict} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("probes", nargs="+")
    parser.add_argument("--backend", default="int8-cuda")
    parser.add_argument("--draws", type=int, default=DRAWS)
    asked = parser.parse_args()
    probed = together(asked.probes)
    table(probed, losses([asked.run], asked.backend), asked.draws)
    flatter(probed)


if __name__ == "__main__":
    main()
