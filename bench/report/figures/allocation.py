"""Bits of weights for each layer, one figure for each checkpoint: what a budget of bits costs at
best, beside layers of equal bits, and which bits each layer gets under a few budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.printable import on_figure
from bench.core.probe_record import ProbeRun, ProbeValue
from bench.report.figures.drawing import plain_axes, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
BEST, EQUAL = "#0072B2", "#D55E00"
# Rows: what they are named, and how they are drawn.
CURVES = (
    ("front_predicted", "Best bits for each layer, predicted", BEST, "-", ""),
    ("front_measured", "The same, measured", BEST, "", "o"),
    ("uniform_predicted", "Equal bits, predicted", EQUAL, "--", ""),
    ("uniform_measured", "The same, measured", EQUAL, "", "s"),
)
# Height of a layer of the map, and of all else, in inches.
LAYER, FRONT, MOST = 0.15, 4.6, 200.0


def draw(probed: ProbeRun, folder: Path) -> dict[str, str]:
    """Write the figures to `folder` and remove older ones; return their titles by file name."""
    for old in folder.glob("probe_allocation-*.png"):
        old.unlink()
    drawn = {}
    names = dict.fromkeys((part.checkpoint, part.method) for part in probed.parts)
    for number, (name, method) in enumerate(names, 1):
        if figure := of_checkpoint(probed, name):
            file = f"probe_allocation-{number:02d}.png"
            save(figure, folder / file)
            drawn[file] = f"Bits for each layer under a budget, {name} ({method})"
    return drawn


def of_checkpoint(probed: ProbeRun, checkpoint: str) -> Figure | None:
    """The front above, the bits of the layers below; None without rows."""
    from matplotlib.figure import Figure

    front = probed.rows(checkpoint, "front_predicted")
    if not front:
        return None
    layers = probed.rows(checkpoint, "layer_bits")
    count = len({row.where["layer"] for row in layers})
    below = min(LAYER * count + 0.9, MOST) if layers else 0.0
    figure = Figure(figsize=(7.2, FRONT + below), dpi=DPI, layout="constrained")
    ratios = [FRONT, below] if layers else [FRONT]
    panels = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
    _front(panels[0], probed, checkpoint)
    panels[0].set_title(on_figure(f"{checkpoint}, edges as in {front[0].scheme}"), fontsize=11)
    if layers:
        _map(figure, panels[1], layers)
    return figure


def _front(axes: Axes, probed: ProbeRun, checkpoint: str) -> None:
    """Errors against mean bits."""
    for name, label, colour, dash, mark in CURVES:
        rows = [row for row in probed.rows(checkpoint, name) if row.value > 0]
        rows.sort(key=lambda row: float(row.where["bits"]))
        x, y = [float(row.where["bits"]) for row in rows], [row.value for row in rows]
        axes.plot(x, y, ls=dash or "none", color=colour, marker=mark, ms=4, label=label)
        if not mark and all(row.low is not None and row.low > 0 for row in rows):
            low, high = [row.low or 0.0 for row in rows], [row.high or 0.0 for row in rows]
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_yscale("log")
    axes.set_xlabel("Mean bits of the weights", fontsize=10)
    axes.set_ylabel("Mean squared change of the prediction", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    plain_axes(axes, "both")


def _map(figure: Figure, axes: Axes, rows: Sequence[ProbeValue]) -> None:
    """Bits of layers in order of execution, against the budget."""
    import numpy as np
    from matplotlib.colors import BoundaryNorm

    layers = list(dict.fromkeys(str(row.where["layer"]) for row in rows))
    budgets = sorted({float(row.where["budget"]) for row in rows})
    values = np.full((len(layers), len(budgets)), np.nan)
    for row in rows:
        place = layers.index(str(row.where["layer"])), budgets.index(float(row.where["budget"]))
        values[place] = row.value
    bounds = np.arange(1.5, 9.0)
    image = axes.imshow(
        values, aspect="auto", cmap="viridis", norm=BoundaryNorm(bounds, ncolors=256)
    )
    axes.set_yticks(range(len(layers)), [on_figure(name.removeprefix("unet.")) for name in layers])
    axes.tick_params(labelsize=7)
    axes.set_xticks(range(len(budgets)), [f"{budget:g}" for budget in budgets], fontsize=9)
    axes.set_xlabel("Budget: mean bits of the weights at most", fontsize=9)
    bar = figure.colorbar(image, ax=axes, ticks=range(2, 9))
    bar.set_label("Bits of the layer's weights", fontsize=9)
