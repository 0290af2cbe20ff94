"""PSNR and change of the distance of each checkpoint under each scheme, on pages.

Where one page has no room for all checkpoints and methods were trained several times, a line is
the mean over the trainings of a method, and its bar reaches from the least to the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.core.printable import on_figure
from bench.report import elsewhere
from bench.report.figures import pages
from bench.report.figures import schemes as of_schemes
from bench.report.figures.drawing import (
    DPI,
    MEANS,
    Style,
    finite,
    mean_and_ends,
    note_empty,
    plain_axes,
    styles,
)
from bench.report.floors import unit
from bench.report.ranking import Group, groups
from bench.report.rows import CellRow, labels, trained
from bench.verdicts.floors import title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Height of a line, in inches, and what stands below all panels.
LINE, REST = 0.3, 0.9
# Marks of the noise floor.
FLOOR = "#999999"
# A name and the rows of one checkpoint, or of the trainings of a method.
Line = tuple[str, list[CellRow]]


def loss_by_method(all_rows: Sequence[CellRow]) -> list[Figure]:
    """For each scheme and kernel a row of two panels: dots with intervals, one per checkpoint or,
    where these are many, per method. No page for a run without measured quantized cells."""
    ranked = groups(all_rows)
    blocks = [(group, _alone(group, all_rows)) for group in ranked]
    if len(pages.split(blocks)) > 1:
        blocks = [(group, _means(group, all_rows) or lines) for group, lines in blocks]
    titles = _titles(ranked)
    drawn = [_page(page, titles, all_rows) for page in pages.split(blocks)]
    for side in (0, 1):
        pages.share_range([axes for figure in drawn for axes in figure.axes[side::2]])
    return drawn


def _alone(group: Group, all_rows: Sequence[CellRow]) -> list[Line]:
    """A line for each checkpoint, in report order."""
    names = labels(all_rows)
    return [(names[row.checkpoint], [row]) for row in all_rows if row in group.members]


def _means(group: Group, all_rows: Sequence[CellRow]) -> list[Line]:
    """A line for each method, [] where none was trained several times."""
    trainings: dict[str, list[CellRow]] = {}
    for row in all_rows:
        if row in group.members:
            trainings.setdefault(row.method, []).append(row)
    several = [rows for rows in trainings.values() if len(rows) > 1]
    if not any(len({row.cell.checkpoint.seed for row in rows}) > 1 for rows in several):
        return []
    return [
        (f"{method} ({len(rows)})" if len(rows) > 1 else method, rows)
        for method, rows in trainings.items()
    ]


def _titles(ranked: Sequence[Group]) -> dict[int, str]:
    """What stands above the panels of each group, by its identity."""
    kernels = len({group.kernel for group in ranked}) > 1
    families = len({group.family for group in ranked}) > 1
    named = {}
    for group in ranked:
        words = [group.scheme.label, *([group.kernel] if kernels else [])]
        named[id(group)] = ", ".join([*words, *([group.family] if families else [])])
    return named


def _page(
    blocks: Sequence[tuple[Group, list[Line]]], titles: dict[int, str], all_rows: Sequence[CellRow]
) -> Figure:
    from matplotlib.figure import Figure

    heights = [len(lines) + pages.TITLE for _, lines in blocks]
    figure = Figure(figsize=(9.0, LINE * sum(heights) + REST), dpi=DPI, layout="constrained")
    # One range for all schemes, so that panels below each other compare.
    shared: dict[str, Any] = {"sharey": "row", "sharex": "col", "squeeze": False}
    axes = figure.subplots(len(blocks), 2, gridspec_kw={"height_ratios": heights}, **shared)
    marks = styles(trained(all_rows))
    field, name = of_schemes.change(all_rows)
    for (group, lines), (left, right) in zip(blocks, axes, strict=True):
        _panel(left, lines, "psnr", marks)
        _panel(right, lines, field, marks)
        right.axvline(0.0, color="#999999", linewidth=0.8, zorder=0)
        left.set_yticks(range(len(lines)), [on_figure(label) for label, _ in lines])
        left.set_ylim(len(lines) - 0.4, -0.6)
        left.set_title(on_figure(titles[id(group)]), fontsize=11, loc="left", weight="bold")
    twins = elsewhere.worded(all_rows, "own full-precision images", "the reference")
    accepted = _accepted(all_rows)
    axes[-1][0].set_xlabel(f"PSNR to {twins}, dB (left is worse){accepted}", fontsize=10)
    full = elsewhere.worded(all_rows, "full precision", "the reference")
    axes[-1][1].set_xlabel(f"Change of {name} against {full} (right is worse)", fontsize=10)
    if any(len(rows) > 1 for _, lines in blocks for _, rows in lines):
        figure.supxlabel(MEANS, fontsize=10)
    return figure


def _accepted(all_rows: Sequence[CellRow]) -> str:
    """What the marks of the noise floor are, as the end of a label."""
    units = [floor.record for row in all_rows if (floor := unit(row))]
    names = dict.fromkeys(title(record) for record in units)
    return f"\ngrey: {on_figure(', '.join(names))}" if names else ""


def _panel(axes: Axes, lines: Sequence[Line], field: str, marks: Mapping[str, Style]) -> None:
    for y, (_, rows) in enumerate(lines):
        colour, mark = marks[rows[0].checkpoint]
        for floor in filter(None, map(unit, rows)):
            if accepted := finite(getattr(floor, field)):
                axes.plot([accepted.value], [y], "|", color=FLOOR, markersize=13, mew=2)
        if (drawn := mean_and_ends(rows, field)) is None:
            continue
        value, ends = drawn
        if ends:
            axes.plot(ends, [y, y], color=colour, linewidth=1.6)
        axes.plot([value], [y], mark, color=colour, markersize=7)
    axes.margins(x=0.08)
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)
    note_empty(axes, any(mean_and_ends(rows, field) for _, rows in lines))
