"""Two runs side by side: what differs, and for each number whether it became worse.

Cells are matched by checkpoint name, scheme and backend. Their difference is HEAD - BASE. Where
both were sampled from the same noise and both runs kept the influences of their images, it is
*paired*: its error is that of the differences of the influences, image by image. Otherwise it is
taken as that of two independent sets, which for the same noise is wider than need be; the row says
which. The real images are held fixed, the same ones in both runs.

Distances are compared in full precision, and quantized cells by their *changes* against it, so
that a worse checkpoint and a worse quantizer are told apart. `decisions` holds the rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import decisions, stats
from bench.findings import INCOMPARABLE, Finding, findings, notes, same_noise
from bench.influences import Influences, key
from bench.record import Measurement, Record, Run
from bench.thresholds import Threshold, find

# From what must be looked at to what need not be.
VERDICTS = (
    *("newly failing", "worse", "not comparable", "inconclusive", "better", "fixed", "new"),
    "unchanged",
)


@dataclass(frozen=True)
class Side:
    """A run with the influences of its images; `name` is what the user calls it."""

    name: str
    run: Run
    influences: Influences


@dataclass(frozen=True)
class Row:
    """A decided row.

    Attributes:
        metric: name without N, "" for a row about the whole cell.
        change: HEAD - BASE with its error; None where it cannot be had.
        threshold: the least worsening that matters, in the metric's unit; None for none.
        gated: whether the row counts for the exit code.
        adjusted: p of no change after Holm, over the gated rows (or over those that do not gate).
        needed: the N that would decide an inconclusive row, None where unknown.
        reason: why there is no verdict, or what is special about it.
    """

    checkpoint: str
    scheme: str
    backend: str
    verdict: str
    metric: str = ""
    base: Measurement | None = None
    head: Measurement | None = None
    change: stats.Estimate | None = None
    paired: bool = False
    threshold: float | None = None
    gated: bool = True
    adjusted: float | None = None
    needed: int | None = None
    reason: str = ""

    @property
    def cell(self) -> str:
        """The matched cells' name."""
        return f"{self.checkpoint} {self.scheme} {self.backend}"


@dataclass(frozen=True)
class Comparison:
    """All decided rows, and for each finding and note the cells that have it."""

    base: str
    head: str
    rows: tuple[Row, ...]
    findings: Mapping[Finding, tuple[str, ...]]
    notes: tuple[str, ...]
    tests: int

    def failures(self, allowed: Sequence[str] = ()) -> list[Row]:
        """The rows that make the gate fail."""
        bad = ("worse", "newly failing")
        missing = "missing" in allowed
        return [
            row
            for row in self.rows
            if row.gated and row.verdict in bad and not (missing and row.reason == MISSING)
        ]

    def blocking(self, allowed: Sequence[str] = ()) -> list[Finding]:
        """The findings that make the gate fail; `allowed` are kinds that do not."""
        return [finding for finding in self.findings if finding.kind not in allowed]

    def code(self, allowed: Sequence[str] = (), undecided: bool = False) -> int:
        """The exit code: 0 fine, 1 regression, 3 inconclusive where `undecided` asks for it."""
        if self.failures(allowed) or self.blocking(allowed):
            return 1
        open_rows = any(row.gated and row.verdict == "inconclusive" for row in self.rows)
        return 3 if undecided and open_rows else 0


MISSING = "no such cell in HEAD"


def compare(base: Side, head: Side, thresholds: Sequence[Threshold]) -> Comparison:
    """Decide every number that both runs have."""
    old, new = _cells(base.run), _cells(head.run)
    found: dict[Finding, list[str]] = {}
    said: dict[str, None] = {}
    rows: list[Row] = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before and after and before.status == after.status == "ok":
            for note in notes(before, after):
                said[note] = None
            here = findings(before, after)
            compared = _numbers(base, head, before, after, thresholds)
            barred = [f for f in here if f.kind in INCOMPARABLE]
            if barred:
                compared = [_barred(row, barred) for row in compared]
            here += [Finding("version", r.reason) for r in compared if _version_changed(r)]
            for finding in here:
                found.setdefault(finding, []).append(" ".join(name))
            rows += compared
        else:
            rows.append(_whole(name, before, after))
    rows, tests = _decided(rows)
    rows.sort(key=lambda row: (VERDICTS.index(row.verdict), not row.gated))
    cells = {finding: tuple(names) for finding, names in found.items()}
    return Comparison(base.name, head.name, tuple(rows), cells, tuple(said), tests)


def _cells(run: Run) -> dict[tuple[str, str, str], Record]:
    return {(r.cell.checkpoint.name, str(r.cell.scheme), r.cell.backend): r for r in run.records}


def _whole(name: tuple[str, str, str], before: Record | None, after: Record | None) -> Row:
    """The row of a cell that was not measured in both runs."""
    if after is None:
        measured = before is not None and before.status == "ok"
        return Row(*name, "newly failing" if measured else "unchanged", reason=MISSING)
    if after.status == "ok":
        verdict = "new" if before is None else "fixed"
        return Row(*name, verdict, reason="" if before is None else f"was {before.status}")
    reason = f"{after.status}: {after.error}"
    if before is not None and before.status == "ok":
        return Row(*name, "newly failing", reason=reason)
    return Row(*name, "new" if before is None else "unchanged", reason=reason)


def _numbers(
    base: Side, head: Side, before: Record, after: Record, thresholds: Sequence[Threshold]
) -> list[Row]:
    """A row for each number of a cell; "" is the verdict where it is to be decided."""
    olds, news = ({_stem(m): m for m in r.measurements} for r in (before, after))
    noise, rows = same_noise(before, after), []
    for metric in dict.fromkeys([*olds, *news]):
        if f"delta_{metric}" in {*olds, *news}:
            continue
        old, new = olds.get(metric), news.get(metric)
        full = _full_precision(metric, olds)
        row = _limited(_row(before, metric, old, new), full, thresholds)
        if row.verdict == "":
            sides = (base, before, old), (head, after, new)
            terms = tuple(s.influences.get(key(r.cell, m.name)) for s, r, m in sides)
            change, paired, reason = _change(old, new, terms, noise)
            sizes = (abs(size) for size in (old.value, new.value, full or 0.0))
            change = change and change.without_rounding(max(sizes))
            reason = "; ".join(filter(None, (row.reason, reason)))
            row = replace(row, change=change, paired=paired, reason=reason)
        rows.append(row)
    return rows


def _row(record: Record, metric: str, old: Measurement | None, new: Measurement | None) -> Row:
    cell = record.cell.checkpoint.name, str(record.cell.scheme), record.cell.backend
    if old is None:
        return Row(*cell, "new", metric, old, new, reason="not measured in BASE")
    reason = "not measured in HEAD" if new is None else ""
    if not reason and math.isfinite(old.value) and not math.isfinite(new.value):
        reason = "undefined in HEAD"
    if reason:
        return Row(*cell, "newly failing", metric, old, new, reason=reason)
    reason = _incomparable(old, new)
    return Row(*cell, "not comparable" if reason else "", metric, old, new, reason=reason)


def _full_precision(metric: str, olds: Mapping[str, Measurement]) -> float | None:
    """What a relative threshold is a share of: the full-precision value of a change, at the N of
    its cell the cell's own number less the change, else the number itself; None where unknown."""
    if metric.startswith("delta_"):
        changed, change = olds.get(metric.removeprefix("delta_")), olds.get(metric)
        return changed.value - change.value if changed and change else None
    return olds[metric].value if metric in olds else None


def _limited(row: Row, full: float | None, thresholds: Sequence[Threshold]) -> Row:
    """The row with its threshold, `full` being what a relative one is a share of."""
    entry = find(thresholds, row.metric, row.checkpoint, row.scheme)
    if entry is None or row.base is None:
        return replace(row, gated=False, reason=row.reason or "no threshold")
    if entry.relative is not None and (full is None or not math.isfinite(full)):
        distance = row.metric.removeprefix("delta_")
        reason = f"the threshold is a share of {distance}, which BASE lacks"
        return replace(row, gated=entry.gate, reason=row.reason or reason)
    return replace(row, threshold=entry.size(full or 0.0), gated=entry.gate)


def _stem(measurement: Measurement) -> str:
    return measurement.name.split("@")[0]


def _incomparable(old: Measurement, new: Measurement) -> str:
    """Why two measurements cannot be subtracted, "" where they can."""
    if old.version != new.version:
        return f"{_stem(old)} version {old.version} → {new.version}"
    if (old.unit, old.better) != (new.unit, new.better):
        return f"unit or direction of {_stem(old)} changed"
    return "" if math.isfinite(old.value) else "undefined in BASE"


def _version_changed(row: Row) -> bool:
    return bool(row.base and row.head and row.base.version != row.head.version)


def _barred(row: Row, barred: Sequence[Finding]) -> Row:
    kinds = ", ".join(dict.fromkeys(finding.kind for finding in barred))
    return replace(row, verdict="not comparable", change=None, reason=f"{kinds} changed")


def _change(
    old: Measurement, new: Measurement, terms: tuple[np.ndarray | None, ...], noise: bool
) -> tuple[stats.Estimate | None, bool, str]:
    """(HEAD - BASE, whether paired, what is to be said about it)."""
    value = new.value - old.value
    first, second = terms
    if noise and first is not None and second is not None and len(first) == len(second) == old.n:
        return stats.estimate(value, second - first), True, ""
    estimates = [stats.from_interval(m.value, m.low, m.high, m.n) for m in (new, old)]
    if None in estimates:
        return None, False, "no interval"
    reason = "unpaired: influences of both runs are needed" if noise else "other noise: unpaired"
    return stats.independent(*estimates), False, reason


def _decided(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows with their verdicts, and how many of those that gate were tested together."""
    tested = [r for r in rows if r.verdict == "" and r.change and r.threshold is not None]
    told: dict[int, Row] = {}
    for gated in (True, False):
        family = [row for row in tested if row.gated == gated]
        chances = [decisions.two_sided(_worsening(row)) for row in family]
        for row, p in zip(family, decisions.holm(chances), strict=True):
            told[id(row)] = _told(row, p, len(family))
    decided = [told.get(id(row)) or _undecided(row) for row in rows]
    return decided, sum(row.gated for row in tested)


def _told(row: Row, adjusted: float, tests: int) -> Row:
    verdict, needed = decisions.decide(_worsening(row), row.threshold, adjusted), None
    if verdict == "inconclusive":
        needed = decisions.needed(_worsening(row), row.threshold, row.head.n, tests)
    return replace(row, verdict=verdict, adjusted=adjusted, needed=needed)


def _undecided(row: Row) -> Row:
    if row.verdict:
        return row
    same = math.isclose(row.head.value, row.base.value, rel_tol=stats.ROUNDING)
    return replace(row, verdict="unchanged" if same else "inconclusive")


def _worsening(row: Row) -> stats.Estimate:
    return row.change if row.head.better == "lower" else row.change.flipped()
