"""Mean and spread of each training method: a panel for each scheme and kernel.

A line has a small mark for each training of the method, a bar from the least to the largest
change, and a large mark at the mean. Methods that were trained once have no spread and no line
here: the figure of all checkpoints shows them. A page has at most `HIGHEST` inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.core.printable import on_figure
from bench.core.record import Measurement
from bench.report.figures import pages
from bench.report.figures import schemes as of_schemes
from bench.report.figures.drawing import DPI, finite, plain_axes, style
from bench.report.ranking import Group, groups
from bench.report.rows import CellRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
# Height of a line, and of what stands around the lines of a panel, in inches.
LINE, REST = 0.3, 0.75
# Most height of the panels of a page, in inches.
HIGHEST = 12.0


def loss_by_training(all_rows: Sequence[CellRow]) -> list[Figure]:
    """The change of FD (of KD where there is no FD) of each method, over its trainings.

    No page where no method was trained several times.
    """
    field, name = of_schemes.change(all_rows)
    ranked = groups(all_rows)
    panels = [(group, lines) for group in ranked if (lines := _lines(group, field))]
    most = max((len(lines) for _, lines in panels), default=0)
    each = COLUMNS * max(1, int(HIGHEST / (LINE * most + REST)))
    parts = [panels[start : start + each] for start in range(0, len(panels), each)]
    drawn = [_page(part, most, ranked, name) for part in parts]
    pages.share_range([axes for figure in drawn for axes in figure.axes])
    return drawn


def _page(
    panels: Sequence[tuple[Group, dict[str, list[Measurement]]]],
    most: int,
    ranked: Sequence[Group],
    name: str,
) -> Figure:
    """A page whose panels have room for `most` lines each."""
    from matplotlib.figure import Figure

    depth = -(-len(panels) // COLUMNS)
    size = (9.0, depth * (LINE * most + REST) + 0.4)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    # One range for all panels, so that schemes compare by eye.
    shared: dict[str, Any] = {"sharex": True, "squeeze": False}
    axes = figure.subplots(depth, min(COLUMNS, len(panels)), **shared).ravel()
    kernels = len({group.kernel for group in ranked}) > 1
    families = len({group.family for group in ranked}) > 1
    for panel, (group, lines) in zip(axes, panels, strict=False):
        _panel(panel, lines)
        words = [group.scheme.label, *([group.kernel] if kernels else [])]
        title = ", ".join([*words, *([group.family] if families else [])])
        panel.set_title(on_figure(title), fontsize=11, loc="left", weight="bold")
        panel.tick_params(labelbottom=True)
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    figure.supxlabel(
        f"Change of {name} against full precision (right is worse). Small marks: trainings; "
        "bar: their range; large mark: mean",
        fontsize=10,
    )
    return figure


def _lines(group: Group, field: str) -> dict[str, list[Measurement]]:
    """The changes of all trainings by method, of methods with several seeds of which all are
    known."""
    members: dict[str, list[CellRow]] = {}
    for row in group.members:
        members.setdefault(row.method, []).append(row)
    lines = {}
    for method, rows in members.items():
        known = [m for row in rows if (m := finite(getattr(row, field)))]
        seeds = {row.cell.checkpoint.seed for row in rows}
        if 1 < len(seeds) == len(rows) == len(known):
            lines[method] = known
    return lines


def _panel(axes: Axes, lines: dict[str, list[Measurement]]) -> None:
    axes.axvline(0.0, color="#999999", linewidth=0.8, zorder=0)
    for y, (method, known) in enumerate(lines.items()):
        colour, mark = style(method)
        values = [m.value for m in known]
        axes.plot([min(values), max(values)], [y, y], color=colour, linewidth=1.6)
        axes.plot(values, [y] * len(values), mark, color=colour, markersize=4)
        axes.plot([sum(values) / len(values)], [y], mark, color=colour, markersize=10)
    names = [f"{on_figure(method)} ({len(known)})" for method, known in lines.items()]
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)
