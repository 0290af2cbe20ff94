"""What all figures share: plain axes, the marks of methods, and a small file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.core.record import Measurement
from bench.report.rows import interval
from bench.system import store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 128
STYLES = {
    "baseline": ("#000000", "o"),
    "ema": ("#56B4E9", "s"),
    "swa": ("#0072B2", "^"),
    "sam": ("#D55E00", "D"),
    "sam+ema": ("#E69F00", "v"),
    "sam+swa": ("#CC79A7", "P"),
    "ip": ("#009E73", "X"),
    "ip+ema": ("#56B4E9", "<"),
    "ip+swa": ("#0072B2", "h"),
}
OTHERS = (("#009E73", "<"), ("#0072B2", ">"), ("#CC79A7", "d"), ("#E69F00", "*"))
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


def style(method: str) -> tuple[str, str]:
    """Colour and mark of a method; unknown ones share the last few, always the same one."""
    return STYLES.get(method) or OTHERS[sum(method.encode()) % len(OTHERS)]
