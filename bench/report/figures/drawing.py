"""What all figures share: plain axes, and a small file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.system import store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 128


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
