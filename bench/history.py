"""The course of each number over the last runs, and whether it drifts.

A small loss in every commit passes each comparison with the commit before. So the last k runs that
are comparable with the newest one (weights, protocol, kernel, metric version) are fitted by a
straight line over their order. The drift is what the line changes over these k runs; its error
comes from the scatter about the line, with k - 2 degrees of freedom, so it holds whether the runs
share their noise or not. `decisions` judges it like a comparison, with Holm over all series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import decisions
from bench.findings import findings
from bench.record import Measurement, Record, Run
from bench.stats import Estimate
from bench.thresholds import Threshold, find

LEAST = 4


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
        drift: what the fitted line changes from the first point to the last.
        verdict: as in a comparison; "" below LEAST points or without a threshold.
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

    @property
    def measured(self) -> list[Measurement]:
        """The points that have a number."""
        return [point.measurement for point in self.points if point.measurement]


def histories(runs: Sequence[Run], last: int, thresholds: Sequence[Threshold]) -> list[Series]:
    """The series of every number of the newest run, decided.

    Args:
        runs: oldest first.
        last: at most so many runs, the newest ones.
    """
    runs = runs[-last:]
    found = []
    for record in runs[-1].records if runs else ():
        for measurement in record.measurements:
            series = _series(runs, record, measurement, thresholds)
            drift = _drift(series.measured)
            found.append(replace(series, drift=drift))
    return _decided(found)


def _series(
    runs: Sequence[Run], newest: Record, last: Measurement, thresholds: Sequence[Threshold]
) -> Series:
    cell, metric = newest.cell, last.name.split("@")[0]
    points = []
    for run in runs:
        for record in run.records:
            if _name(record) != _name(newest):
                continue
            if record.status != "ok":
                points.append(Point(run.id, None, record.status))
            elif not findings(record, newest):
                measured = record.measurement(metric)
                if measured and measured.version == last.version:
                    points.append(Point(run.id, measured, "ok"))
    entry = find(thresholds, metric, cell.checkpoint.name, str(cell.scheme))
    size = None
    if entry is not None:
        level = _full_precision(runs, cell.reference, metric)
        known = level or (None if metric.startswith("delta_") else last)
        # A change is no scale for itself: without full precision nothing is decided.
        if known or entry.relative is None:
            size = entry.size(known.value if known else 0.0)
    names = cell.checkpoint.name, cell.checkpoint.method, str(cell.scheme), cell.backend
    return Series(*names, metric, tuple(points), entry is not None and entry.gate, size)


def _name(record: Record) -> tuple[str, str, str]:
    return record.cell.checkpoint.name, str(record.cell.scheme), record.cell.backend


def _full_precision(runs: Sequence[Run], reference: object, metric: str) -> Measurement | None:
    full = next((r for r in runs[-1].records if r.cell == reference), None)
    return full.measurement(metric.removeprefix("delta_")) if full else None


def _drift(measured: Sequence[Measurement]) -> Estimate | None:
    values = np.array([m.value for m in measured])
    k = len(values)
    if k < LEAST or not np.isfinite(values).all():
        return None
    x = np.arange(k) - (k - 1) / 2
    slope = float(x @ values / (x @ x))
    residuals = values - values.mean() - slope * x
    # Rounding alone must not look like scatter, nor hide that there is none.
    error = math.sqrt(float(residuals @ residuals) / (k - 2) / float(x @ x))
    drift = Estimate(slope * (k - 1), error * (k - 1), k - 2)
    return drift.without_rounding(float(np.abs(values).max()))


def _decided(found: Sequence[Series]) -> list[Series]:
    tested = [s for s in found if s.drift and s.threshold is not None]
    worsenings = [
        s.drift if s.measured[-1].better == "lower" else s.drift.flipped() for s in tested
    ]
    adjusted = decisions.holm([decisions.two_sided(w) for w in worsenings])
    verdicts = {
        id(s): decisions.decide(w, s.threshold, p)
        for s, w, p in zip(tested, worsenings, adjusted, strict=True)
    }
    return [replace(s, verdict=verdicts.get(id(s), "")) for s in found]
