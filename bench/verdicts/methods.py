"""Does one method lose less under quantization than another? Differences of differences.

For a scheme and a family, d is the change that quantization brings to a method's number, less the
change that it brings to the first method's (baseline where there is one). All are sampled from the
same noise, so d is paired image by image: its error is that of the differences of the influences.

That error covers the draw of the images for *these* weights. Where both methods were trained
several times, on the same seeds, d is the mean over the trainings and `estimates.pooled` adds how
much the trainings differ: only then does it speak of the methods. The p values are corrected by
Holm over all comparisons of a run.

Cells of different N do not compare. `unmatched` names the methods that are left out for this
reason, and `ignored` the checkpoints that are left out because an earlier one has the same method
and seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from bench.core import estimates
from bench.core.cell import of_any_size
from bench.core.distances import kernel
from bench.core.probe_record import ProbeValue
from bench.core.record import Measurement, Record, Run
from bench.system.influences import Influences, key
from bench.verdicts import decisions
from bench.verdicts.paired_difference import paired_difference

# Metrics of the effect of quantization on a cell, with the sign that the metric has.
METRICS = ("delta_kd", "psnr")
FIRST = "baseline"
T = TypeVar("T")


@dataclass(frozen=True)
class MethodComparison:
    """`method` against `against` under a scheme; `estimate` has the unit of the metric.

    Attributes:
        trainings: number of pairs of trainings; a single pair cannot tell a method from chance.
        adjusted: p of no difference, after Holm.
        better: the method that loses less, "" where the difference is not significant.
    """

    family: str
    scheme: str
    backend: str
    metric: str
    method: str
    against: str
    trainings: int
    estimate: estimates.Estimate
    adjusted: float = 1.0
    better: str = ""


@dataclass(frozen=True)
class Unmatched:
    """A method that is left out because it shares no N with the first one of its family."""

    family: str
    scheme: str
    backend: str
    method: str
    against: str
    images: tuple[int, ...]
    others: tuple[int, ...]


def method_comparisons(run: Run, influences: Influences) -> list[MethodComparison]:
    """All methods of each family against its first one, where the influences are known."""
    comparisons: list[tuple[MethodComparison, str]] = []
    for first, members in _groups(run):
        for equal in _by_size(members).values():
            for metric in METRICS:
                comparisons += _pairs(equal, first, metric, influences)
    adjusted = decisions.holm([decisions.two_sided(c.estimate) for c, _ in comparisons])
    return [_with_verdict(c, p, way) for (c, way), p in zip(comparisons, adjusted, strict=True)]


def unmatched(run: Run) -> list[Unmatched]:
    """The methods that are not compared, as their N differs from that of the first one."""
    alone = []
    for first, members in _groups(run):
        sizes: dict[str, set[int]] = {}
        for record in members:
            sizes.setdefault(record.cell.checkpoint.method, set()).add(record.cell.draw.images)
        cell = members[0].cell
        group = cell.checkpoint.family, str(cell.scheme), cell.backend
        alone += [
            Unmatched(*group, method, first, tuple(sorted(own)), tuple(sorted(sizes[first])))
            for method, own in sizes.items()
            if not own & sizes[first]
        ]
    return alone


def ignored(run: Run) -> list[str]:
    """Checkpoints left out: an earlier one has the same method and seed."""
    first: dict[tuple[str, str, int], str] = {}
    others: dict[str, None] = {}
    for record in run.records:
        card = record.cell.checkpoint
        if record.status != "ok" or record.cell.scheme.is_float:
            continue
        if first.setdefault((card.family, card.method, card.seed), card.name) != card.name:
            others[card.name] = None
    return list(others)


def _groups(run: Run) -> list[tuple[str, list[Record]]]:
    """(first method, records) for each family, scheme and backend; draws differ in N at most."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in run.records:
        cell = record.cell
        if record.status == "ok" and not cell.scheme.is_float:
            draw = of_any_size(cell.draw)
            where = cell.checkpoint.family, cell.scheme, cell.backend, draw
            groups.setdefault(where, []).append(record)
    with_first = []
    for members in groups.values():
        methods = [record.cell.checkpoint.method for record in members]
        with_first.append((FIRST if FIRST in methods else methods[0], members))
    return with_first


def _by_size(members: list[Record]) -> dict[int, list[Record]]:
    sizes: dict[int, list[Record]] = {}
    for record in members:
        sizes.setdefault(record.cell.draw.images, []).append(record)
    return sizes


def _pairs(
    members: list[Record], first: str, metric: str, influences: Influences
) -> Iterator[tuple[MethodComparison, str]]:
    """(comparison, the metric's direction) of each method against the first."""
    methods = list(dict.fromkeys(r.cell.checkpoint.method for r in members))
    trainings: dict[tuple[str, int], tuple[Record, ProbeValue]] = {}
    for record in members:
        if row := measured(record, metric, influences):
            card = record.cell.checkpoint
            trainings.setdefault((card.method, card.seed), (record, row))
    for method in methods:
        if method == first:
            continue
        both = shared(trainings, method, first)
        line = paired_difference([(a, b) for (_, a), (_, b) in both])
        # The error is undefined where a training diverged.
        if line and math.isfinite(line.estimate.error):
            scale = max(abs(row.value) for pair in both for _, row in pair)
            record, row = both[0][0]
            number = measurement(record, metric)
            assert number is not None
            cell = record.cell
            group = cell.checkpoint.family, str(cell.scheme), cell.backend
            estimate = line.estimate.without_rounding(scale)
            comparison = MethodComparison(
                *group, row.name, method, first, line.trainings, estimate
            )
            yield comparison, number.better


def measured(record: Record, metric: str, influences: Influences) -> ProbeValue | None:
    """One of METRICS of a record, with the influences of its images; None without."""
    number = measurement(record, metric)
    if number is None or key(record.cell, number.name) not in influences:
        return None
    terms = tuple(influences[key(record.cell, number.name)])
    return ProbeValue(number.name.split("@")[0], number.value, n=len(terms), terms=terms)


def shared(trained: Mapping[tuple[str, int], T], method: str, other: str) -> list[tuple[T, T]]:
    """The values of two methods for each training seed that both have, in order of the seeds.

    Args:
        trained: values by method and seed.
    """
    seeds = sorted({seed for _, seed in trained})
    return [
        (trained[method, seed], trained[other, seed])
        for seed in seeds
        if {(method, seed), (other, seed)} <= set(trained)
    ]


def measurement(record: Record, metric: str) -> Measurement | None:
    """The measurement of one of METRICS in a record, whatever its extractor."""
    names = [metric]
    if metric == METRICS[0]:
        names = [f"delta_{kernel(extractor)}" for extractor in record.cell.extractors]
    return next((m for name in names if (m := record.measurement(name))), None)


def _with_verdict(comparison: MethodComparison, adjusted: float, way: str) -> MethodComparison:
    better = ""
    if adjusted < decisions.ALPHA:
        less = comparison.estimate.value < 0
        better = comparison.method if less == (way == "lower") else comparison.against
    return replace(comparison, adjusted=adjusted, better=better)
