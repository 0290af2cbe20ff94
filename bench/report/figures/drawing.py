"""What all figures share: plain axes, the marks of methods, and a small file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.core.printable import on_figure
from bench.core.record import Measurement
from bench.report.labels import Trained, legend
from bench.report.rows import CellRow, interval, trained
from bench.system import store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Dots per inch of all figures, and colours of their files.
DPI, COLOURS = 150, 128
LEGEND_CHARACTERS = 100
# Height of a line of a legend, in inches.
LEGEND_LINE = 0.21
Style = tuple[str, str]
Ends = tuple[float, float]
STYLES: dict[str, Style] = {
    "baseline": ("#000000", "o"),
    "ema": ("#56B4E9", "s"),
    "swa": ("#0072B2", "^"),
    "sam": ("#D55E00", "D"),
    "sam+ema": ("#E69F00", "v"),
    "sam+swa": ("#CC79A7", "P"),
    "ip": ("#009E73", "X"),
    "ip+ema": ("#882255", "<"),
    "ip+swa": ("#999933", "h"),
}
OTHERS: tuple[Style, ...] = (
    *(("#009E73", "<"), ("#0072B2", ">"), ("#CC79A7", "d"), ("#E69F00", "*")),
)
# For checkpoints of a method that already has its style in a figure.
SPARE: tuple[Style, ...] = tuple(
    (colour, mark)
    for mark in ">dpH1234"
    for colour in ("#D55E00", "#0072B2", "#009E73", "#000000")
)
MEANS = (
    "Means over the trainings of a method, bars from the least to the largest; "
    "of one training its 95% interval"
)
# Larger values are not drawn: sums of the ends of axes would overflow.
LARGEST = 1e100


def plain_axes(axes: Axes, grid_axis: Literal["both", "x", "y"]) -> None:
    """Leave two spines, and a grid behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid_axis, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG, whole or not at all; the path."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # A palette, as line drawings have few colours: a third of the bytes of true colour.
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(COLOURS)
    with store.atomic(path) as temporary:
        image.save(temporary, "PNG", optimize=True)
    return path


def finite(measurement: Measurement | None) -> Measurement | None:
    """The measurement where it can be drawn."""
    numbers = (measurement.value, *(interval(measurement) or ())) if measurement else ()
    return measurement if all(abs(number) < LARGEST for number in numbers) else None


def mean_and_ends(rows: Sequence[CellRow], field: str) -> tuple[float, Ends | None] | None:
    """What is drawn of a checkpoint: its value and the ends of its interval; of several trainings
    their mean, and the least and the largest of them. None where a value cannot be drawn."""
    known = [m for row in rows if (m := finite(getattr(row, field)))]
    if not known or len(known) < len(rows):
        return None
    if len(known) == 1:
        return known[0].value, interval(known[0])
    values = [m.value for m in known]
    return sum(values) / len(values), (min(values), max(values))


def style(method: str) -> Style:
    """Colour and mark of a method; unknown ones share the last few, always the same one."""
    return STYLES.get(method) or OTHERS[sum(method.encode()) % len(OTHERS)]


def styles(trained_by: Trained) -> dict[str, Style]:
    """Colour and mark of each checkpoint: those of its method, unless another entry of the legend
    has them, as where two checkpoints share method and seed."""
    entries, taken = legend(trained_by), dict[str, Style]()
    for name, (method, _) in trained_by.items():
        if entries[name] in taken:
            continue
        wanted, used = style(method), set(taken.values())
        if wanted in used:
            wanted = next((spare for spare in SPARE if spare not in used), wanted)
        taken[entries[name]] = wanted
    return {name: taken[entries[name]] for name in trained_by}


def method_handles(members: Iterable[CellRow], marks: Mapping[str, Style]) -> list[Line2D]:
    """A legend's marks, one for each checkpoint and one for all trainings of a method."""
    from matplotlib.lines import Line2D

    first: dict[str, CellRow] = {}
    for row in members:
        first.setdefault(row.checkpoint, row)
    entries = legend(trained(first.values()))
    kinds = {entries[checkpoint]: marks[checkpoint] for checkpoint in reversed([*first])}
    handles = []
    for label in dict.fromkeys(entries.values()):
        colour, mark = kinds[label]
        handles.append(Line2D([], [], color=colour, marker=mark, label=on_figure(label)))
    return handles


def note_empty(axes: Axes, drawn: bool) -> None:
    """Say that a panel has nothing to show."""
    if not drawn:
        text = axes.text(0.5, 0.5, "no finite values", fontsize=10, color="#666666")
        text.set(transform=axes.transAxes, ha="center", va="center")


def place_legend(figure: Figure, handles: list[Line2D]) -> None:
    """Put a legend above the panels, which keep their height whatever it takes."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), max(1, LEGEND_CHARACTERS // (longest + 8)))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    extra = math.ceil(len(handles) / columns) - 1
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * extra)
