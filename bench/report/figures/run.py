"""The figures of a run: loss against bits, loss against method, and sample images side by side.

The figures use matplotlib's objects with the Agg canvas: no window, no global state. Colours are
of the Okabe-Ito palette, told apart with any colour vision; marks repeat what colours say. Methods
keep their colour in every run (`drawing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.printable import on_figure
from bench.core.record import Run
from bench.report import elsewhere
from bench.report.figures import grid
from bench.report.figures import schemes as of_schemes
from bench.report.figures.bits import loss_by_bits
from bench.report.figures.drawing import (
    Style,
    finite,
    note_empty,
    plain_axes,
    save,
    styles,
)
from bench.report.figures.trainings import loss_by_training
from bench.report.floors import unit
from bench.report.ranking import Group, groups
from bench.report.rows import CellRow, interval, labels, rows, trained
from bench.system import store
from bench.verdicts.floors import title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
# Marks of the noise floor.
FLOOR = "#999999"


def draw(run: Run, folder: Path) -> list[Path]:
    """Write the figures that the run has data for to `folder`/figures; remove all others."""
    all_rows = rows(run)
    target = folder / "figures"
    drawn = []
    makers = {
        "loss_by_training.png": loss_by_training,
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


def loss_by_method(all_rows: Sequence[CellRow]) -> Figure | None:
    """For each scheme and kernel a row of two panels: dots with intervals, one per checkpoint."""
    from matplotlib.figure import Figure

    ranked = groups(all_rows)
    if not ranked:
        return None
    heights = [len(group.members) + 1.6 for group in ranked]
    figure = Figure(figsize=(9.0, 0.3 * sum(heights) + 0.9), dpi=DPI, layout="constrained")
    # One range for all schemes, so that panels below each other compare.
    shared: dict[str, Any] = {"sharey": "row", "sharex": "col", "squeeze": False}
    axes = figure.subplots(len(ranked), 2, gridspec_kw={"height_ratios": heights}, **shared)
    names, kernels = labels(all_rows), len({group.kernel for group in ranked}) > 1
    families, marks = len({group.family for group in ranked}) > 1, styles(trained(all_rows))
    field, name = of_schemes.change(all_rows)
    for group, (left, right) in zip(ranked, axes, strict=True):
        ordered = [row for row in all_rows if row in group.members]
        _method_panel(left, ordered, "psnr", marks)
        _method_panel(right, ordered, field, marks)
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


def _method_panel(
    axes: Axes, members: Sequence[CellRow], field: str, marks: Mapping[str, Style]
) -> None:
    for y, row in enumerate(members):
        measurement = finite(getattr(row, field))
        colour, mark = marks[row.checkpoint]
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
    note_empty(axes, any(finite(getattr(row, field)) for row in members))
