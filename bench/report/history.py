"""The history of the runs: a table of the drifts, and a figure of each number over the runs.

A figure is about one metric: a panel for each scheme, a line for each checkpoint, a point with its
interval for each run, a cross at the bottom where the cell was refused or failed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.record import Run
from bench.report.formatting import (
    NONE,
    decimal_places,
    escape,
    estimated,
    measured,
    number,
    table,
)
from bench.verdicts.history import LEAST, Series

if TYPE_CHECKING:
    pass

FOLDER = "trend"
HEADER = ("Verdict", "Cell", "Metric", "Runs", "First", "Last", "Drift, 95% interval", "Threshold")
COLUMNS = (*HEADER, "Remark")


def table_of(runs: Sequence[Run], all_series: Sequence[Series]) -> str:
    """The runs, then a line for each series, as Markdown."""
    lines = [f"# The last {len(runs)} runs", ""]
    for run in runs:
        measured_cells = sum(record.status == "ok" for record in run.records)
        lines.append(f"- {escape(run.id)}: {measured_cells} of {len(run.records)} cells measured")
    body = [_line(series) for series in all_series]
    rules = (
        f"Drift: what a straight line through the comparable runs changes from the first to the "
        f"last, from {LEAST} runs on; of two or three runs the last less the first, as of "
        f"independent images. Worse or better as in a comparison, Holm over the series that "
        f"gate. A gated series that could not be judged fails."
    )
    lines += ["", *table(COLUMNS, body, left=3), "", rules]
    if gone := _gone(runs):
        lines += ["", f"Not in the newest run, and so not shown: {escape(', '.join(gone))}."]
    return "\n".join(lines) + "\n"


def _gone(runs: Sequence[Run]) -> list[str]:
    """The cells of earlier runs that the newest run lacks."""
    present = {str(record.cell) for record in runs[-1].records}
    cells = dict.fromkeys(str(record.cell) for run in runs for record in run.records)
    return [cell for cell in cells if cell not in present]


def _file(metric: str) -> str:
    """File name of a metric's figure, unique to the metric whatever its characters."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", metric)
    if name == metric and len(name) <= 100:
        return f"{name}.png"
    return f"{name[:100]}-{hashlib.sha256(metric.encode()).hexdigest()[:8]}.png"


def _line(series: Series) -> list[str]:
    numbers = series.measured
    decimals = decimal_places(numbers)
    drift = NONE
    if series.drift:
        drift = estimated(series.drift, decimals)
    verdict = {"worse": "**drifts, worse**", "better": "drifts, better"}
    without = "**cannot be judged**" if series.failing else "none yet"
    if not series.gated and series.threshold is None:
        without = "shown only"
    failed = sum(point.measurement is None for point in series.points)
    count = f"{len(numbers)}, {failed} failed" if failed else f"{len(numbers)}"
    return [
        verdict.get(series.verdict, series.verdict) or without,
        escape(f"{series.checkpoint} {series.scheme} {series.backend}"),
        escape(series.metric) + ("" if series.gated else " (not gated)"),
        count,
        measured(numbers[0], decimals) if numbers else NONE,
        measured(numbers[-1], decimals) if numbers else NONE,
        drift,
        NONE if series.threshold is None else number(series.threshold, decimals),
        escape(series.reason) or NONE,
    ]
