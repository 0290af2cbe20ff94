"""Loss against bits: a line for each checkpoint over the schemes of a run.

Where checkpoints are many, a line is the mean of the trainings of a method, and its bars reach
from the least of them to the largest: nineteen lines that cross say nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.core.printable import on_figure
from bench.core.record import Measurement
from bench.report.figures import schemes as of_schemes
from bench.report.figures.drawing import (
    DPI,
    MEANS,
    Style,
    finite,
    mean_and_ends,
    method_handles,
    note_empty,
    place_legend,
    plain_axes,
    styles,
)
from bench.report.rows import CellRow, interval, labels, scheme_order, schemes, trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LineStyle = Literal["-", "--", ":", "-."]
LINES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
SPREAD = 40.0
# More lines than these are drawn as means over trainings.
MOST_LINES = 9


@dataclass(frozen=True)
class Line:
    """A line of the figure.

    Attributes:
        points: by falling bits, the rows of each point: one, or the trainings of a method.
    """

    label: str
    points: tuple[tuple[CellRow, ...], ...]

    @property
    def first(self) -> CellRow:
        """The first row, whose method, family and kernel all others have."""
        return self.points[0][0]

    @property
    def rows(self) -> list[CellRow]:
        """All rows."""
        return [row for point in self.points for row in point]


def loss_by_bits(all_rows: Sequence[CellRow]) -> Figure | None:
    """Two panels over the schemes: PSNR, and the change of FD (of KD where there is no FD); one
    line for each checkpoint. Schemes with methods have a figure of their own."""
    from matplotlib.figure import Figure

    series = _series([row for row in all_rows if not of_schemes.is_more(row.scheme)])
    if not series:
        return None
    marks, has_means = (
        styles(trained(all_rows)),
        any(len(p) > 1 for line in series for p in line.points),
    )
    figure = Figure(figsize=(9.0, 4.4), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    every = [row for line in series for row in line.rows]
    quantized = schemes(every)
    ticks = list(dict.fromkeys(scheme.label for scheme in quantized))
    _bits_panel(left, series, ticks, "psnr", marks)
    field, name = of_schemes.change(all_rows)
    _bits_panel(right, series, ["fp32", *ticks], field, marks)
    left.invert_yaxis()
    left.set_title("PSNR to own full-precision images", fontsize=11)
    left.set_ylabel("PSNR, dB (axis reversed: higher up is worse)", fontsize=10)
    right.axhline(0.0, color="#999999", linewidth=0.8, zorder=0)
    right.set_title(f"Change of {name} against full precision", fontsize=11)
    right.set_ylabel(f"Change of {name} (higher up is worse)", fontsize=10)
    _compress(right, [getattr(row, field) for row in every])
    told = []
    if has_means:
        told.append(MEANS)
    if len({row.images for row in every}) > 1:
        told.append("Lines join cells of equal N; hollow marks: more images than the least N")
    if told:
        figure.supxlabel("\n".join(told), fontsize=10)
    _legend(figure, series, marks)
    return figure


def _legend(figure: Figure, series: Sequence[Line], marks: Mapping[str, Style]) -> None:
    """A mark for each checkpoint, one for all trainings of a method, and where there are several
    kinds of lines one of each."""
    from matplotlib.lines import Line2D

    handles = method_handles([row for line in series for row in line.rows], marks)
    lines = _lines(series)
    families = len({family for family, _ in lines}) > 1
    for (family, kernel), line in lines.items() if len(lines) > 1 else ():
        label = on_figure(f"{family}, {kernel}" if families else kernel)
        handles.append(Line2D([], [], color="#666666", linestyle=line, label=label))
    place_legend(figure, handles)


def _series(all_rows: Sequence[CellRow]) -> list[Line]:
    """A line for each checkpoint and kernel; of many, one for each method and kernel."""
    names = labels(all_rows)
    # Images from elsewhere have no bits.
    measured = [r for r in all_rows if r.ok and not (r.scheme.is_float or r.scheme.elsewhere)]
    kernels = len({row.kernel for row in measured}) > 1

    def by(key: Callable[[CellRow], str]) -> dict[str, list[CellRow]]:
        lines: dict[str, list[CellRow]] = {}
        for row in measured:
            lines.setdefault(key(row) + (f", {row.kernel}" if kernels else ""), []).append(row)
        return lines

    alone = by(lambda row: names[row.checkpoint])
    shared = by(lambda row: f"{row.family}, {row.method}")
    several = any(len({r.cell.checkpoint.seed for r in rows}) > 1 for rows in shared.values())
    lines = shared if len(alone) > MOST_LINES and several else alone
    return [Line(label, tuple(_points(rows))) for label, rows in lines.items()]


def _points(rows: Sequence[CellRow]) -> list[tuple[CellRow, ...]]:
    """The rows of a line by falling bits; those of one scheme and N are one point."""
    points: dict[tuple[object, ...], list[CellRow]] = {}
    for row in sorted(rows, key=lambda row: scheme_order(row.scheme)):
        points.setdefault((row.scheme.label, row.images), []).append(row)
    return [tuple(point) for point in points.values()]


def _lines(series: Sequence[Line]) -> dict[tuple[str, str], LineStyle]:
    """The line that a family and kernel are drawn with."""
    pairs = dict.fromkeys((row.family, row.kernel) for line in series for row in line.rows)
    return {pair: LINES[k % len(LINES)] for k, pair in enumerate(pairs)}


def _bits_panel(
    axes: Axes, series: Sequence[Line], ticks: list[str], field: str, marks: Mapping[str, Style]
) -> None:
    least = min(row.images for line in series for row in line.rows)
    step = min(0.07, 0.4 / len(series))
    for k, line in enumerate(series):
        shift = (k - (len(series) - 1) / 2) * step
        points = [
            (ticks.index(point[0].scheme.label) + shift, value, point[0].images)
            for point in line.points
            if (value := mean_and_ends(point, field))
        ]
        colour, mark = marks[line.first.checkpoint]
        dash = _lines(series)[line.first.family, line.first.kernel]
        label = line.label
        # Points of different N do not compare, so no line joins them. Only the first line leaves
        # full precision, where the change is 0 by definition, without a mark.
        for n, part in itertools.groupby(points, key=lambda point: point[2]):
            joined = list(part)
            xs, ys = [x for x, _, _ in joined], [value for _, (value, _), _ in joined]
            start = field.endswith("_change") and joined[0] is points[0]
            if start:
                xs, ys = [0.0, *xs], [0.0, *ys]
            drawn = axes.plot(xs, ys, dash, color=colour, linewidth=1.4, label=label)[0]
            drawn.set(marker=mark, markersize=6, markevery=list(range(start, len(xs))))
            if n != least:
                drawn.set(markerfacecolor="white")
            # One entry in the legend for all parts of a series.
            label = "_"
        for x, (_, ends), _ in points:
            if ends:
                axes.plot([x, x], ends, color=colour, linewidth=1.2)
    axes.set_xticks(range(len(ticks)), list(map(on_figure, ticks)))
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.set_xlabel("Scheme (weight and activation bits)", fontsize=10)
    plain_axes(axes, "y")
    note_empty(axes, any(mean_and_ends(point, field) for line in series for point in line.points))


def _compress(axes: Axes, changes: Sequence[Measurement | None]) -> None:
    """Use a scale that is linear near 0 and logarithmic beyond where the changes differ much."""
    values = [m.value for m in changes if m and finite(m)]
    sizes = sorted(abs(value) for value in values if value)
    if not sizes or sizes[-1] < SPREAD * sizes[len(sizes) // 4]:
        return
    linear = 10.0 ** math.ceil(math.log10(sizes[len(sizes) // 4]))
    ends = [end for m in changes if m and finite(m) for end in interval(m) or ()]
    low, high = min(0.0, *values, *ends), max(0.0, *values, *ends)
    axes.set_yscale("symlog", linthresh=linear)
    axes.set_ylim(1.6 * low - 0.1 * linear, 1.6 * high + 0.1 * linear)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel(f"{axes.get_ylabel()},\nlogarithmic beyond ±{linear:g}", fontsize=10)
