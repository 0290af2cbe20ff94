"""The figure of a history: the course of each number over runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.printable import on_figure
from bench.report.figures.drawing import LARGEST, plain_axes, save, style
from bench.report.history import _file
from bench.report.rows import interval
from bench.verdicts.history import Series

# Ids that runs are given: time, commit, and a number where two began in one second.
ID = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)T(?P<hour>\d\d)(?P<minute>\d\d)\d\dZ-(?P<commit>.+)"
)

# More panels than these stand in two columns; the most height, in inches; labels of an axis.
COLUMN, HIGHEST, LABELS = 4, 20.0, 8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(all_series: Sequence[Series], folder: Path) -> list[Path]:
    """Write a figure for each metric that has a number in two runs."""
    drawn = []
    for metric in dict.fromkeys(series.metric for series in all_series):
        members = [s for s in all_series if s.metric == metric and len(s.measured) > 1]
        if members:
            drawn.append(save(_figure(metric, members), folder / _file(metric)))
    return drawn


def _figure(metric: str, members: Sequence[Series]) -> Figure:
    from matplotlib.figure import Figure

    schemes = list(dict.fromkeys((series.scheme, series.backend) for series in members))
    columns = 1 if len(schemes) <= COLUMN else 2
    depth = -(-len(schemes) // columns)
    size = 8.0 if columns == 1 else 14.0, min(HIGHEST, 2.6 * depth + 0.9)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.subplots(depth, columns, squeeze=False, sharex=True).ravel()
    runs = sorted({point.run for series in members for point in series.points})
    for panel, (scheme, backend) in zip(axes, schemes, strict=False):
        inside = [s for s in members if (s.scheme, s.backend) == (scheme, backend)]
        for k, series in enumerate(inside):
            _lines(panel, series, runs, (k - (len(inside) - 1) / 2) * 0.06)
        panel.set_title(on_figure(f"{scheme}, {backend}"), fontsize=11, loc="left", weight="bold")
        worse = "higher" if inside[0].measured[-1].better == "lower" else "lower"
        panel.set_ylabel(f"{on_figure(metric)}\n({worse} is worse)", fontsize=9)
        plain_axes(panel, "y")
    for spare in axes[len(schemes) :]:
        spare.set_visible(False)
    # As many labels as stand beside each other, the last run always with one.
    shown = range(len(runs) - 1, -1, -(-len(runs) // LABELS))
    days = ["\n".join(map(on_figure, _named(runs[k]))) for k in shown]
    axes[-1].set_xticks(list(shown), days, fontsize=8)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def _named(run: str) -> list[str]:
    """The lines of a run's label: day, time and commit, else its id."""
    if (match := ID.fullmatch(run)) is None:
        return [run]
    day = f"{match['year']}-{match['month']}-{match['day']}"
    commit = [] if match["commit"] == "nogit" else [match["commit"]]
    return [day, f"{match['hour']}:{match['minute']}", *commit]


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
