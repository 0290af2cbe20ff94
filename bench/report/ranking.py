"""The ranking behind a report's headline: which methods quantization harms least.

Harm is the change by quantization of the distance to real images: of the kernel distance, which
has no bias, or else of the Fréchet distance. How far the images moved from full precision (PSNR
...) is another question: it ranks only where no distance was measured. Trainings of one method
that differ in their seed count once, by their mean. Entries whose intervals overlap share their
ranks. Checkpoints with the same weights, or the same numbers to the last digit, are one entry:
there is nothing to rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.core import estimates
from bench.core.record import Measurement
from bench.core.scheme import Scheme
from bench.report.rows import RANKING, CellRow, interval, scheme_order
from bench.system.influences import Influences, key

HARM = ("kd_change", "fd_change")


@dataclass(frozen=True)
class Entry:
    """An entry of a ranking: a checkpoint, or the trainings of one method.

    Attributes:
        rows: one row for each training.
        value: value of the metric that ranks, the mean over the trainings; None where undefined.
        ends: ends of the 95% interval of the value, None where there is none.
        best, worst: the ranks that its interval allows, None without an interval.
        same: names of checkpoints with the same weights or numbers as one of the rows, by its
            name.
    """

    rows: tuple[CellRow, ...]
    value: float | None
    ends: tuple[float, float] | None
    best: int | None = None
    worst: int | None = None
    same: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Measured rows that may be ranked against each other: one family, scheme, kernel and draw.

    Attributes:
        metric: the field of `CellRow` that ranks, "" where none was measured.
        better: "lower" or "higher", of that metric.
        entries: from the least to the largest loss; undefined values last.
        members: all rows, those of identical checkpoints too.
    """

    family: str
    metric: str
    better: str
    entries: tuple[Entry, ...]
    members: tuple[CellRow, ...]

    @property
    def rows(self) -> list[CellRow]:
        """The rows of all entries."""
        return [row for entry in self.entries for row in entry.rows]

    @property
    def scheme(self) -> Scheme:
        """The scheme of the first row; schemes that skip equally many layers share a group."""
        return self.members[0].scheme

    @property
    def kernel(self) -> str:
        """The kernel that executed the rows."""
        return self.members[0].kernel

    @property
    def harm(self) -> bool:
        """Whether it ranks by a change of a distance to real images."""
        return self.metric in HARM

    @property
    def ranked(self) -> list[Entry]:
        """The entries that have a rank."""
        return [entry for entry in self.entries if entry.best is not None]


def groups(all_rows: Sequence[CellRow], influences: Influences | None = None) -> list[Group]:
    """The measured quantized rows by family, scheme, kernel and draw, each ranked by loss."""
    members: dict[tuple[object, ...], list[CellRow]] = {}
    for row in all_rows:
        if row.ok and not row.scheme.is_float:
            group_key = row.family, row.scheme.label, row.kernel, row.cell.draw
            members.setdefault(group_key, []).append(row)
    ordered = sorted(
        members.values(),
        key=lambda rows: (rows[0].family, scheme_order(rows[0].scheme), rows[0].kernel),
    )
    return [_ranked(rows, influences or {}) for rows in ordered]


def _ranked(members: list[CellRow], influences: Influences) -> Group:
    metric = next((n for n in (*HARM, *RANKING) if any(_defined(r, n) for r in members)), "")
    known = [m for row in members if metric and (m := _defined(row, metric))]
    better = known[0].better if known else "lower"
    kept, same = _distinct(members)
    entries = [
        replace(
            _entry(rows, metric, influences),
            same={row.checkpoint: same[row.checkpoint] for row in rows if row.checkpoint in same},
        )
        for rows in _trainings(kept)
    ]
    sign = 1 if better == "lower" else -1
    entries.sort(key=lambda e: math.inf if e.value is None else sign * e.value)
    return Group(
        members[0].family, metric, better, tuple(_with_ranks(entries, sign)), tuple(members)
    )


def _distinct(members: Sequence[CellRow]) -> tuple[list[CellRow], dict[str, list[str]]]:
    """The rows without identical ones, and the names of those that were left out for each."""
    kept: list[CellRow] = []
    same: dict[str, list[str]] = {}
    for row in members:
        twin = next((other for other in kept if _identical(other, row)), None)
        if twin is None:
            kept.append(row)
        else:
            same.setdefault(twin.checkpoint, []).append(row.checkpoint)
    return kept, same


def _identical(first: CellRow, second: CellRow) -> bool:
    sets = first.record.elsewhere, second.record.elsewhere
    if sets[0] and sets[1]:
        return sets[0].sha256 == sets[1].sha256
    cards = first.cell.checkpoint, second.cell.checkpoint
    if cards[0].sha256 and cards[0].content() == cards[1].content():
        return True
    numbers = [[(m.name, m.value) for m in row.record.measurements] for row in (first, second)]
    return bool(numbers[0]) and numbers[0] == numbers[1]


def _trainings(members: Sequence[CellRow]) -> list[list[CellRow]]:
    """The rows by method; each alone where two of a method share their seed."""
    methods: dict[str, list[CellRow]] = {}
    for row in members:
        methods.setdefault(row.method, []).append(row)
    trainings: list[list[CellRow]] = []
    for rows in methods.values():
        seeds = {row.cell.checkpoint.seed for row in rows}
        if len(seeds) == len(rows):
            trainings.append(rows)
        else:
            trainings += [[row] for row in rows]
    return trainings


def _entry(rows: list[CellRow], metric: str, influences: Influences) -> Entry:
    pairs = [(row, _defined(row, metric)) for row in rows] if metric else []
    known = [(row, m) for row, m in pairs if m is not None]
    if not known or len(known) < len(rows):
        return Entry(tuple(rows), None, None)
    if len(known) == 1:
        return Entry(tuple(rows), known[0][1].value, interval(known[0][1]))
    values = [m.value for _, m in known]
    estimate = _pooled(known, values, influences)
    return Entry(tuple(rows), float(np.mean(values)), estimate.interval() if estimate else None)


def _pooled(
    known: Sequence[tuple[CellRow, Measurement]], values: Sequence[float], influences: Influences
) -> estimates.Estimate | None:
    """The mean over trainings, which share their images: the error of the images remains."""
    terms = [influences.get(key(row.cell, m.name)) for row, m in known]
    if all(t is not None and len(t) == known[0][1].n for t in terms):
        return estimates.pooled(values, [t for t in terms if t is not None])
    images = [estimates.from_interval(m.value, m.low, m.high, m.n) for _, m in known]
    trainings = estimates.repeated(values)
    if trainings is None or not all(images):
        return None
    widest = max((e for e in images if e), key=lambda e: e.error)
    return estimates.total(trainings.value, (trainings, widest))


def _with_ranks(entries: Sequence[Entry], sign: int) -> list[Entry]:
    """The entries with the ranks that their intervals allow."""
    ends = {id(e): sorted(sign * end for end in e.ends) for e in entries if e.ends}
    placed = []
    for entry in entries:
        if id(entry) in ends:
            low, high = ends[id(entry)]
            better = sum(other[1] < low for other in ends.values())
            worse = sum(other[0] > high for other in ends.values())
            entry = replace(entry, best=1 + better, worst=len(ends) - worse)
        placed.append(entry)
    return placed


def _defined(row: CellRow, metric: str) -> Measurement | None:
    measurement: Measurement | None = getattr(row, metric)
    return None if measurement is None or math.isnan(measurement.value) else measurement
