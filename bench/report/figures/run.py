"""The figures of a run: loss against bits, loss against method, and sample images side by side.

The figures use matplotlib's objects with the Agg canvas: no window, no global state. Colours are
of the Okabe-Ito palette, told apart with any colour vision; marks repeat what colours say. Methods
keep their colour in every run (`drawing`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.core.printable import on_figure
from bench.core.record import Measurement, Run
from bench.report import elsewhere
from bench.report.figures import grid
from bench.report.figures import schemes as of_schemes
from bench.report.figures.drawing import (
    finite,
    method_handles,
    place_legend,
    plain_axes,
    save,
    style,
)
from bench.report.floors import unit
from bench.report.ranking import Group, groups
from bench.report.rows import CellRow, interval, labels, rows, scheme_order, schemes
from bench.system import store
from bench.verdicts.floors import title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LineStyle = Literal["-", "--", ":", "-."]
LINES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
DPI = 150
SPREAD = 40.0
# Marks of the noise floor.
FLOOR = "#999999"


def draw(run: Run, folder: Path) -> list[Path]:
    """Write the figures that the run has data for to `folder`/figures; remove all others."""
    all_rows = rows(run)
    target = folder / "figures"
    drawn = []
    makers = {
        "loss_by_bits.png": loss_by_bits,
        "loss_by_scheme.png": of_schemes.loss_by_scheme,
        "loss_by_method.png": loss_by_method,
    }
    for name, make in makers.items():
        if (figure := make(all_rows)) is not None:
            drawn.append(save(figure, target / name))
    if picture := grid.draw(all_rows, folder / "samples"):
        with store.atomic(target / "grid.png") as temporary:
            temporary.write_bytes(picture)
        drawn.append(target / "grid.png")
    for name in (*makers, "grid.png"):
        if target / name not in drawn:
            (target / name).unlink(missing_ok=True)
    return drawn


def loss_by_bits(all_rows: Sequence[CellRow]) -> Figure | None:
    """Two panels over the schemes: PSNR, and the change of FD (of KD where there is no FD); one
    line for each checkpoint. Schemes with methods have a figure of their own."""
    from matplotlib.figure import Figure

    series = _series([row for row in all_rows if not of_schemes.is_more(row.scheme)])
    if not series:
        return None
    figure = Figure(figsize=(9.0, 4.4), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    quantized = schemes(row for _, members in series for row in members)
    ticks = list(dict.fromkeys(scheme.label for scheme in quantized))
    _bits_panel(left, series, ticks, "psnr")
    field, name = of_schemes.change(all_rows)
    _bits_panel(right, series, ["fp32", *ticks], field)
    left.invert_yaxis()
    left.set_title("PSNR to own full-precision images", fontsize=11)
    left.set_ylabel("PSNR, dB (axis reversed: higher up is worse)", fontsize=10)
    right.axhline(0.0, color="#999999", linewidth=0.8, zorder=0)
    right.set_title(f"Change of {name} against full precision", fontsize=11)
    right.set_ylabel(f"Change of {name} (higher up is worse)", fontsize=10)
    _compress(right, [getattr(row, field) for _, members in series for row in members])
    if len({row.images for _, members in series for row in members}) > 1:
        figure.supxlabel(
            "Lines join cells of equal N; hollow marks: more images than the least N", fontsize=10
        )
    _legend(figure, all_rows, series)
    return figure


def _legend(
    figure: Figure, all_rows: Sequence[CellRow], series: Sequence[tuple[str, list[CellRow]]]
) -> None:
    """A mark for each checkpoint, one for all trainings of a method, and where there are several
    kinds of lines one of each."""
    from matplotlib.lines import Line2D

    handles = method_handles([rows[0] for _, rows in series])
    lines = _lines(series)
    families = len({family for family, _ in lines}) > 1
    for (family, kernel), line in lines.items() if len(lines) > 1 else ():
        label = on_figure(f"{family}, {kernel}" if families else kernel)
        handles.append(Line2D([], [], color="#666666", linestyle=line, label=label))
    place_legend(figure, handles)


def loss_by_method(all_rows: Sequence[CellRow]) -> Figure | None:
    """For each scheme and kernel a row of two panels: dots with intervals, one per checkpoint."""
    from matplotlib.figure import Figure

    ranked = groups(all_rows)
    if not ranked:
        return None
    heights = [len(group.members) + 1.6 for group in ranked]
    figure = Figure(figsize=(9.0, 0.3 * sum(heights) + 0.9), dpi=DPI, layout="constrained")
    axes = figure.subplots(
        len(ranked), 2, squeeze=False, gridspec_kw={"height_ratios": heights}, sharey="row"
    )
    names, kernels = labels(all_rows), len({group.kernel for group in ranked}) > 1
    families = len({group.family for group in ranked}) > 1
    field, name = of_schemes.change(all_rows)
    for group, (left, right) in zip(ranked, axes, strict=True):
        ordered = [row for row in all_rows if row in group.members]
        _method_panel(left, ordered, "psnr")
        _method_panel(right, ordered, field)
        right.axvline(0.0, color="#999999", linewidth=0.8, zorder=0)
        left.set_yticks(range(len(ordered)), [on_figure(names[row.checkpoint]) for row in ordered])
        left.set_ylim(len(ordered) - 0.4, -0.6)
        title = on_figure(_title(group, kernels, families))
        left.set_title(title, fontsize=11, loc="left", weight="bold")
    twins = elsewhere.worded(all_rows, "own full-precision images", "the reference")
    accepted = _accepted(all_rows)
    axes[-1][0].set_xlabel(f"PSNR to {twins}, dB (left is worse){accepted}", fontsize=10)
    full = elsewhere.worded(all_rows, "full precision", "the reference")
    axes[-1][1].set_xlabel(f"Change of {name} against {full} (right is worse)", fontsize=10)
    return figure


def _accepted(all_rows: Sequence[CellRow]) -> str:
    """What the marks of the noise floor are, as the end of a label."""
    units = [floor.record for row in all_rows if (floor := unit(row))]
    names = dict.fromkeys(title(record) for record in units)
    return f"\ngrey: {on_figure(', '.join(names))}" if names else ""


def _title(group: Group, kernels: bool, families: bool) -> str:
    words = [group.scheme.label, *([group.kernel] if kernels else [])]
    return ", ".join([*words, *([group.family] if families else [])])


def _series(all_rows: Sequence[CellRow]) -> list[tuple[str, list[CellRow]]]:
    """Measured quantized rows of each checkpoint and kernel, by falling bits, with a label."""
    names = labels(all_rows)
    # Images from elsewhere have no bits.
    measured = [r for r in all_rows if r.ok and not (r.scheme.is_float or r.scheme.elsewhere)]
    kernels = len({row.kernel for row in measured}) > 1
    series: dict[str, list[CellRow]] = {}
    for row in measured:
        label = names[row.checkpoint] + (f", {row.kernel}" if kernels else "")
        series.setdefault(label, []).append(row)
    return [(k, sorted(s, key=lambda r: scheme_order(r.scheme))) for k, s in series.items()]


def _lines(series: Sequence[tuple[str, list[CellRow]]]) -> dict[tuple[str, str], LineStyle]:
    """The line that a family and kernel are drawn with."""
    pairs = dict.fromkeys((row.family, row.kernel) for _, members in series for row in members)
    return {pair: LINES[k % len(LINES)] for k, pair in enumerate(pairs)}


def _bits_panel(
    axes: Axes, series: Sequence[tuple[str, list[CellRow]]], ticks: list[str], field: str
) -> None:
    lines, least = _lines(series), min(row.images for _, rows in series for row in rows)
    step = min(0.07, 0.4 / len(series))
    for k, (label, members) in enumerate(series):
        shift = (k - (len(series) - 1) / 2) * step
        points = [
            (ticks.index(row.scheme.label) + shift, measurement, row.images)
            for row in members
            if (measurement := finite(getattr(row, field)))
        ]
        colour, mark = style(members[0].method)
        line = lines[members[0].family, members[0].kernel]
        # Points of different N do not compare, so no line joins them. Only the first line leaves
        # full precision, where the change is 0 by definition, without a mark.
        for n, part in itertools.groupby(points, key=lambda point: point[2]):
            joined = list(part)
            xs, ys = [x for x, _, _ in joined], [m.value for _, m, _ in joined]
            start = field.endswith("_change") and joined[0] is points[0]
            if start:
                xs, ys = [0.0, *xs], [0.0, *ys]
            drawn = axes.plot(xs, ys, line, color=colour, linewidth=1.4, label=label)[0]
            drawn.set(marker=mark, markersize=6, markevery=list(range(start, len(xs))))
            if n != least:
                drawn.set(markerfacecolor="white")
            # One entry in the legend for all parts of a series.
            label = "_"
        for x, measurement, _ in points:
            if ends := interval(measurement):
                axes.plot([x, x], ends, color=colour, linewidth=1.2)
    axes.set_xticks(range(len(ticks)), list(map(on_figure, ticks)))
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.set_xlabel("Scheme (weight and activation bits)", fontsize=10)
    plain_axes(axes, "y")
    _note_empty(axes, any(finite(getattr(row, field)) for _, m in series for row in m))


def _method_panel(axes: Axes, members: Sequence[CellRow], field: str) -> None:
    for y, row in enumerate(members):
        measurement = finite(getattr(row, field))
        colour, mark = style(row.method)
        floor = unit(row)
        if accepted := finite(getattr(floor, field)) if floor else None:
            axes.plot([accepted.value], [y], "|", color=FLOOR, markersize=13, mew=2)
        if measurement is None:
            continue
        if ends := interval(measurement):
            axes.plot(ends, [y, y], color=colour, linewidth=1.6)
        axes.plot([measurement.value], [y], mark, color=colour, markersize=7)
    axes.margins(x=0.08)
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)
    _note_empty(axes, any(finite(getattr(row, field)) for row in members))


def _note_empty(axes: Axes, drawn: bool) -> None:
    if not drawn:
        text = axes.text(0.5, 0.5, "no finite values", fontsize=10, color="#666666")
        text.set(transform=axes.transAxes, ha="center", va="center")


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
