"""The history of the runs: a table of what drifts, and a figure of each number over the runs.

A figure is about one metric: a panel for each scheme, a line for each checkpoint, a point with its
interval for each run, a cross at the bottom where the cell was refused or failed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.history import LEAST, Series
from bench.printable import on_figure
from bench.record import Run
from bench.report.figures import LARGEST, plain_axes, save, style
from bench.report.numbers import NONE, escape, estimated, measured, number, places, table
from bench.report.rows import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "trend"
HEADER = ("Verdict", "Cell", "Metric", "Runs", "First", "Last", "Drift, 95% interval", "Threshold")
COLUMNS = (*HEADER, "Remark")


def table_of(runs: Sequence[Run], found: Sequence[Series]) -> str:
    """The runs, then a line for each series, as Markdown."""
    lines = [f"# The last {len(runs)} runs", ""]
    for run in runs:
        measured_cells = sum(record.status == "ok" for record in run.records)
        lines.append(f"- {escape(run.id)}: {measured_cells} of {len(run.records)} cells measured")
    body = [_line(series) for series in found]
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
    """The cells of earlier runs that the newest one has not."""
    present = {str(record.cell) for record in runs[-1].records}
    cells = dict.fromkeys(str(record.cell) for run in runs for record in run.records)
    return [cell for cell in cells if cell not in present]


def draw(found: Sequence[Series], folder: Path) -> list[Path]:
    """Write a figure for each metric that has a number in two runs."""
    drawn = []
    for metric in dict.fromkeys(series.metric for series in found):
        members = [s for s in found if s.metric == metric and len(s.measured) > 1]
        if members:
            drawn.append(save(_figure(metric, members), folder / _file(metric)))
    return drawn


def _file(metric: str) -> str:
    """The name of a metric's figure; another one for each metric, whatever it is called."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", metric)
    if name == metric and len(name) <= 100:
        return f"{name}.png"
    return f"{name[:100]}-{hashlib.sha256(metric.encode()).hexdigest()[:8]}.png"


def _line(series: Series) -> list[str]:
    numbers = series.measured
    decimals = places(numbers)
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


def _figure(metric: str, members: Sequence[Series]) -> Figure:
    from matplotlib.figure import Figure

    schemes = list(dict.fromkeys((series.scheme, series.backend) for series in members))
    height = 2.6 * len(schemes) + 0.9
    figure = Figure(figsize=(8.0, height), dpi=150, layout="constrained")
    axes = figure.subplots(len(schemes), 1, squeeze=False, sharex=True)[:, 0]
    runs = sorted({point.run for series in members for point in series.points})
    for panel, (scheme, backend) in zip(axes, schemes, strict=True):
        inside = [s for s in members if (s.scheme, s.backend) == (scheme, backend)]
        for k, series in enumerate(inside):
            _lines(panel, series, runs, (k - (len(inside) - 1) / 2) * 0.06)
        panel.set_title(on_figure(f"{scheme}, {backend}"), fontsize=11, loc="left", weight="bold")
        worse = "higher" if inside[0].measured[-1].better == "lower" else "lower"
        panel.set_ylabel(f"{on_figure(metric)}\n({worse} is worse)", fontsize=9)
        plain_axes(panel, "y")
    days = [f"{on_figure(run[:8])}\n{on_figure(run[-8:])}" for run in runs]
    axes[-1].set_xticks(range(len(runs)), days, fontsize=8)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def _lines(axes: Axes, series: Series, runs: Sequence[str], shift: float) -> None:
    colour, mark = style(series.method)
    xs, ys = [], []
    for point in series.points:
        x = runs.index(point.run) + shift
        if point.measurement is None:
            transform = axes.get_xaxis_transform()
            axes.plot([x], [0.03], "x", color=colour, transform=transform, markersize=7)
        elif abs(point.measurement.value) < LARGEST:
            xs.append(x)
            ys.append(point.measurement.value)
            if (ends := interval(point.measurement)) and max(map(abs, ends)) < LARGEST:
                axes.plot([x, x], ends, color=colour, linewidth=1.0)
    axes.plot(
        xs, ys, "-", color=colour, linewidth=1.4, label=on_figure(series.checkpoint)
    ).pop().set(marker=mark, markersize=5)
