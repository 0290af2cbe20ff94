"""The course of each number over the last runs, and whether it drifts.

A small loss in every commit passes each comparison with the commit before. So the last k runs that
are comparable with the newest one (weights, protocol, kernel, metric version) are fitted by a
straight line over their order. The drift is the change of the line over these k runs; its error
comes from the scatter about the line, with k - 2 degrees of freedom, so it holds whether the runs
share their noise or not. `decisions` judges it like a comparison, with Holm over all series.

With two or three runs no line is fitted: the last is compared with the first by their own
intervals, as for independent images, so that few runs do not hide a gross loss.

Every series without a verdict gives the reason. A gating series fails where only an undefined
value or a missing threshold kept it from being judged, where the newest run no longer measures its
cell, and where no earlier run compares with the newest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.core.estimates import Estimate, from_interval, independent
from bench.core.record import Measurement, Record, Run
from bench.verdicts import decisions
from bench.verdicts.findings import findings
from bench.verdicts.matching import defined, full_precision, obstacle, stem
from bench.verdicts.thresholds import Threshold, find

LEAST = 4
NONE = "no threshold for this number"
UNMEASURED = "not measured"


@dataclass(frozen=True)
class Point:
    """A number in one run; `measurement` is None where the cell was refused or failed."""

    run: str
    measurement: Measurement | None
    status: str


@dataclass(frozen=True)
class Series:
    """The last comparable points of one number, oldest first.

    Attributes:
        drift: the change of the fitted line from the first point to the last, or, with fewer than
            LEAST points, the last less the first.
        verdict: as in a comparison; "" where there is none.
        reason: why there is no verdict, or what is special about it.
        broken: whether there is no verdict though there are runs to judge by.
    """

    checkpoint: str
    method: str
    scheme: str
    backend: str
    metric: str
    points: tuple[Point, ...]
    gated: bool
    threshold: float | None
    drift: Estimate | None = None
    verdict: str = ""
    reason: str = ""
    broken: bool = False

    @property
    def failing(self) -> bool:
        """Whether it fails the gate."""
        return self.gated and (self.verdict == "worse" or self.broken)

    @property
    def measured(self) -> list[Measurement]:
        """The points that have a number."""
        return [point.measurement for point in self.points if point.measurement]


def repeated(runs: Sequence[Run]) -> list[Run]:
    """The runs that measured nothing: all their records, with the time that each took, are those
    of one earlier run, as where a command was answered from the cache. They are no evidence.

    Args:
        runs: oldest first.
    """
    found: list[Run] = []
    for k, run in enumerate(runs):
        # Records without times cannot be told apart.
        is_timed = any(record.seconds for record in run.records)
        if is_timed and any(run.records == earlier.records for earlier in runs[:k]):
            found.append(run)
    return found


def histories(runs: Sequence[Run], last: int, thresholds: Sequence[Threshold]) -> list[Series]:
    """The series of every number of the newest run, decided.

    Args:
        runs: oldest first.
        last: at most so many runs, the newest ones.
    """
    runs = runs[-last:]
    series = []
    for record in runs[-1].judged if runs else ():
        for measurement in record.measurements:
            series.append(_series(runs, record, measurement, thresholds))
    series += _lost(runs, thresholds)
    return _decided_series(series)


def _series(
    runs: Sequence[Run], newest: Record, last: Measurement, thresholds: Sequence[Threshold]
) -> Series:
    metric = stem(last)
    points, others = [], Counter[str]()
    for run in runs:
        for record in run.judged:
            if _name(record) != _name(newest):
                continue
            measured = record.measurement(metric)
            if record.status != "ok":
                points.append(Point(run.id, None, record.status))
            elif reason := _apart(record, newest, measured, last):
                others[reason] += 1
            else:
                points.append(Point(run.id, measured, "ok"))
    entry = find(thresholds, metric, newest.cell.checkpoint.name, str(newest.cell.scheme))
    full = full_precision(metric, {stem(m): m for m in newest.measurements})
    size, reason = None, NONE if entry is None else ""
    # A change cannot be the scale of its own threshold, so full precision is needed.
    if entry is not None and (full is not None or entry.relative is None):
        size = entry.size(full or 0.0)
    elif entry is not None:
        reason = f"the threshold is a share of {metric.removeprefix('delta_')}, which is missing"
    series = Series(*_names(newest), metric, tuple(points), bool(entry and entry.gate), size)
    return _drifting(replace(series, reason=reason), others)


def _drifting(series: Series, others: Counter[str]) -> Series:
    """The series with its drift, or why there is none; `others` are runs left out, by reason."""
    measured = series.measured
    left = "".join(f"; {count} not comparable ({kind})" for kind, count in others.items())
    if not all(defined(m.value) for m in measured):
        undefined = [
            p.run for p in series.points if p.measurement and not defined(p.measurement.value)
        ]
        reason = f"undefined in {', '.join(undefined)}"
        return replace(series, reason=reason + left, broken=True)
    if len(measured) >= LEAST:
        drift = _line([m.value for m in measured])
        return replace(
            series,
            drift=drift,
            reason=(series.reason + left).removeprefix("; "),
            broken=series.threshold is None and bool(drift.value),
        )
    few = f"too few runs for a line: {len(measured)} of {LEAST}{left}"
    step = _step(measured[0], measured[-1]) if len(measured) > 1 else None
    reason = "; ".join(filter(None, (series.reason, few)))
    moved = len(measured) > 1 and measured[0].value != measured[-1].value
    undecidable = moved and (step is None or series.threshold is None)
    # Without this, another unit in the newest run alone would take its number out of the gate.
    alone = len(measured) < 2 and any(kind != UNMEASURED for kind in others)
    if moved and step is None:
        reason += "; no interval"
    return replace(series, drift=step, reason=reason, broken=undecidable or alone)


def _apart(record: Record, newest: Record, measured: Measurement | None, last: Measurement) -> str:
    """Why an earlier run's number does not compare with the newest, "" where it does."""
    if measured is None:
        return UNMEASURED
    kinds = dict.fromkeys(finding.kind for finding in findings(record, newest))
    barrier = obstacle(measured, last)
    # An undefined value stays in the series as a point, and keeps it from being judged.
    if barrier and barrier.kind != "undefined":
        kinds[barrier.kind] = None
    return ", ".join(kinds)


def _lost(runs: Sequence[Run], thresholds: Sequence[Threshold]) -> Iterator[Series]:
    """The numbers of earlier runs that the cells of the newest run lack.

    A cell that could not be measured fails; a number that was not asked for is only shown.
    """
    for newest in runs[-1].judged if runs else ():
        earlier = [
            (run.id, record)
            for run in runs
            for record in run.judged
            if _name(record) == _name(newest) and record.status == "ok"
        ]
        had = {stem(m) for m in newest.measurements}
        for metric in dict.fromkeys(stem(m) for _, r in earlier for m in r.measurements):
            if metric in had:
                continue
            points = [Point(run, m, "ok") for run, r in earlier if (m := r.measurement(metric))]
            dead = newest.status != "ok"
            if dead:
                points.append(Point(runs[-1].id, None, newest.status))
            entry = find(thresholds, metric, newest.cell.checkpoint.name, str(newest.cell.scheme))
            reason = newest.status if dead else "not measured"
            yield Series(
                *_names(newest),
                metric,
                tuple(points),
                bool(entry and entry.gate),
                None,
                reason=f"{reason} in the newest run",
                broken=dead,
            )


def _name(record: Record) -> tuple[str, str, str]:
    return record.cell.checkpoint.name, str(record.cell.scheme), record.cell.backend


def _names(record: Record) -> tuple[str, str, str, str]:
    cell = record.cell
    return cell.checkpoint.name, cell.checkpoint.method, str(cell.scheme), cell.backend


def _line(numbers: Sequence[float]) -> Estimate:
    values = np.array(numbers)
    k = len(values)
    x = np.arange(k) - (k - 1) / 2
    slope = float(x @ values / (x @ x))
    residuals = values - values.mean() - slope * x
    # Rounding must neither look like scatter nor hide that there is none.
    error = math.sqrt(float(residuals @ residuals) / (k - 2) / float(x @ x))
    drift = Estimate(slope * (k - 1), error * (k - 1), k - 2)
    return drift.without_rounding(float(np.abs(values).max()))


def _step(first: Measurement, last: Measurement) -> Estimate | None:
    """The last less the first, as for independent images; None without their intervals."""
    ends = [from_interval(m.value, m.low, m.high, m.n) for m in (last, first)]
    if ends[0] is None or ends[1] is None:
        return None
    size = max(abs(first.value), abs(last.value))
    return independent(ends[0], ends[1]).without_rounding(size)


def _decided_series(all_series: Sequence[Series]) -> list[Series]:
    """The series with their verdicts; Holm is applied to gating and other series apart."""
    verdicts = {}
    for gated in (True, False):
        tested = [
            (s, _worsening(s.drift, s.measured[-1].better), s.threshold)
            for s in all_series
            if s.gated == gated and s.drift and s.threshold is not None
        ]
        adjusted = decisions.holm([decisions.two_sided(w) for _, w, _ in tested])
        for (series, worsening, threshold), p in zip(tested, adjusted, strict=True):
            verdicts[id(series)] = decisions.decide(worsening, threshold, p)
    return [replace(s, verdict=verdicts.get(id(s), "")) for s in all_series]


def _worsening(drift: Estimate, better: str) -> Estimate:
    return drift if better == "lower" else drift.flipped()
