"""The figures of the probes: loss against radius, spectrum, exposure bias, noise by layer and t.

Methods keep the colours and marks that they have in the figures of a run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.printable import on_figure
from bench.core.probe_record import ProbeRun, ProbeValue
from bench.report.figures import allocation
from bench.report.figures.drawing import LEGEND_LINE, plain_axes, save, style
from bench.report.figures.run import DPI
from bench.report.labels import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", "--", ":", "-.")
CURVES = "probe_loss.png"
SPECTRUM = "probe_spectrum.png"
EXPOSURE = "probe_exposure.png"
TITLES = {
    "global": "Random direction, all weights",
    "layers": "Random direction, layer by layer",
    "worst": "Worst direction found",
    "quantization": "Error of the rounded weights",
}


def draw(probed: ProbeRun, folder: Path) -> dict[str, str]:
    """Write the figures that there are rows for to `folder`; return their titles by file name."""
    made = {
        CURVES: ("Rise of the denoising loss against the size of a weight perturbation", curves),
        SPECTRUM: ("Spectrum of the Hessian of the denoising loss", spectrum),
        EXPOSURE: ("Exposure bias along sampling", exposure),
    }
    drawn = {}
    for name, (title, function) in made.items():
        (folder / name).unlink(missing_ok=True)
        if figure := function(probed):
            save(figure, folder / name)
            drawn[name] = title
    for old in folder.glob("probe_layers-*.png"):
        old.unlink()
    for number, (name, method) in enumerate(checkpoints(probed), 1):
        if figure := heat_map(probed, name):
            file = f"probe_layers-{number:02d}.png"
            save(figure, folder / file)
            drawn[file] = f"Noise of each layer at each band of timesteps, {name} ({method})"
    return drawn | allocation.draw(probed, folder)


def checkpoints(probed: ProbeRun) -> list[tuple[str, str]]:
    """(name, method) of all checkpoints, in order."""
    return list(dict.fromkeys((part.checkpoint, part.method) for part in probed.parts))


def entries(probed: ProbeRun) -> dict[str, str]:
    """The entry of each checkpoint in the legend; trainings of one method share one entry."""
    names = legend({part.checkpoint: (part.method, part.seed) for part in probed.parts})
    return {name: on_figure(entry) for name, entry in names.items()}


def curves(probed: ProbeRun) -> Figure | None:
    """A panel for each kind of direction, a line for each checkpoint."""
    from matplotlib.figure import Figure

    kinds = [
        k
        for k in TITLES
        if any(probed.rows(n, "loss_rise", direction=k) for n, _ in checkpoints(probed))
    ]
    if not kinds:
        return None
    schemes = list(
        dict.fromkeys(
            row.scheme
            for part in probed.parts
            for row in part.rows
            if row.name == "loss_rise" and row.scheme
        )
    )
    figure = Figure(figsize=(10.0, 3.9 * math.ceil(len(kinds) / 2)), dpi=DPI, layout="constrained")
    panels = figure.subplots(math.ceil(len(kinds) / 2), min(len(kinds), 2), squeeze=False)
    for kind, axes in zip(kinds, panels.flat, strict=False):
        _panel(axes, probed, kind, schemes)
    for axes in panels.flat[len(kinds) :]:
        axes.set_visible(False)
    _legend(figure, panels.flat[0])
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """The lines of a panel, one for each label."""
    handles = {label: line for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    legend_options: dict[str, Any] = {"loc": "outside upper center", "ncols": 3, "frameon": False}
    figure.legend(list(handles.values()), list(handles), **legend_options)
    extra = math.ceil(len(handles) / 3) - 1
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * extra)


def _panel(axes: Axes, probed: ProbeRun, kind: str, schemes: Sequence[str]) -> None:
    """All checkpoints along one kind of direction; schemes differ by their dashes."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator

    labels = entries(probed)
    for name, method in checkpoints(probed):
        rows = probed.rows(name, "loss_rise", direction=kind)
        for scheme in dict.fromkeys(row.scheme for row in rows):
            dash = DASHES[schemes.index(scheme) % len(DASHES)] if scheme else "-"
            members = [r for r in rows if r.scheme == scheme]
            _curve(axes, members, method, labels[name], dash)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.axhline(0.0, color="#999999", linewidth=0.8, zorder=0)
    if kind == "quantization" and len(schemes) > 1:
        dashes = (DASHES[k % len(DASHES)] for k in range(len(schemes)))
        marks = [Line2D([], [], color="#555555", ls=dash) for dash in dashes]
        axes.legend(marks, list(map(on_figure, schemes)), frameon=False, fontsize=9)
    axes.set_title(TITLES[kind], fontsize=11)
    axes.set_xlabel("Radius / norm of the weights", fontsize=10)
    axes.set_ylabel("Rise of the loss", fontsize=10)
    plain_axes(axes, "both")


def _curve(axes: Axes, rows: Sequence[ProbeValue], method: str, label: str, dash: str) -> None:
    """One line with the interval as a band; schemes differ by their dashes."""
    ordered = sorted(rows, key=lambda row: float(row.where["radius"]))
    x = [float(row.where["radius"]) for row in ordered]
    colour, mark = style(method)
    axes.plot(x, [r.value for r in ordered], dash, color=colour, marker=mark, ms=4, label=label)
    low = [r.low for r in ordered if r.low is not None]
    high = [r.high for r in ordered if r.high is not None]
    if len(low) == len(high) == len(x):
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def spectrum(probed: ProbeRun) -> Figure | None:
    """The share of all directions whose eigenvalue is at least x: a step at each node."""
    from matplotlib.figure import Figure

    names = [(n, m) for n, m in checkpoints(probed) if probed.rows(n, "hessian_density")]
    if not names:
        return None
    figure = Figure(figsize=(7.2, 4.6), dpi=DPI, layout="constrained")
    axes, labels = figure.subplots(), entries(probed)
    for name, method in names:
        # The largest eigenvalue comes first.
        rows = probed.rows(name, "hessian_density")
        colour, mark = style(method)
        x = [float(row.where["eigenvalue"]) for row in rows]
        y = list(itertools.accumulate(row.value for row in rows))
        axes.step(x, y, where="post", color=colour, marker=mark, ms=4, lw=0.9, label=labels[name])
    axes.set_xscale("symlog", linthresh=1e-3)
    axes.set_yscale("log")
    axes.axvline(0.0, color="#999999", linewidth=0.8, zorder=0)
    axes.set_xlabel("Eigenvalue of the Hessian (linear within 0.001 of 0)", fontsize=10)
    axes.set_ylabel("Share of directions with at least this eigenvalue", fontsize=10)
    plain_axes(axes, "both")
    _legend(figure, axes)
    return figure


def exposure(probed: ProbeRun) -> Figure | None:
    """Full precision: the gap of the squared norm, and the distance of x_t, against t."""
    from matplotlib.figure import Figure

    names = [(n, m) for n, m in checkpoints(probed) if probed.rows(n, "gap")]
    if not names:
        return None
    figure = Figure(figsize=(10.0, 4.2), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = entries(probed)
    for axes, number, title in (
        (left, "gap", "Squared norm of predicted noise:\nsampling minus noised data"),
        (right, "energy_distance", "Energy distance of x_t:\nsampled against noised data"),
    ):
        for name, method in names:
            rows = [row for row in probed.rows(name, number) if not row.scheme]
            colour, mark = style(method)
            t = [float(row.where["t"]) for row in rows]
            values = [row.value for row in rows]
            axes.plot(t, values, "-", color=colour, marker=mark, ms=4, label=labels[name])
            if number == "gap" and all(row.low is not None for row in rows):
                low, high = [r.low for r in rows], [r.high for r in rows]
                axes.fill_between(t, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.axhline(0.0, color="#999999", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("Timestep t (sampling goes to the left)", fontsize=10)
        plain_axes(axes, "both")
    _legend(figure, left)
    return figure


def heat_map(probed: ProbeRun, checkpoint: str) -> Figure | None:
    """Layers in order of execution against bands of t; bright is noisy."""
    import numpy as np
    from matplotlib.figure import Figure

    rows = probed.rows(checkpoint, "layer_sqnr")
    if not rows:
        return None
    layers = list(dict.fromkeys(str(row.where["layer"]) for row in rows))
    bands = sorted({int(row.where["band"]) for row in rows})
    values = np.full((len(layers), len(bands)), np.nan)
    for row in rows:
        values[layers.index(str(row.where["layer"])), bands.index(int(row.where["band"]))] = (
            row.value
        )
    height = min(0.17 * len(layers) + 1.4, 200.0)
    figure = Figure(figsize=(7.2, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    shown = np.minimum(values, 60.0)
    image = axes.imshow(shown, aspect="auto", cmap="viridis_r", vmin=float(np.nanmin(shown)))
    axes.set_yticks(range(len(layers)), [on_figure(name.removeprefix("unet.")) for name in layers])
    axes.tick_params(labelsize=7)
    axes.set_xticks(bands, [f"{b + 1} of {len(bands)}" for b in bands], fontsize=9)
    axes.set_xlabel("Band of timesteps, from clean images to noise", fontsize=9)
    title = on_figure(f"{checkpoint}, {rows[0].scheme}")
    axes.set_title(f"{title}: each layer alone", fontsize=10)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("SQNR of the predicted noise, dB (60 and more alike)", fontsize=9)
    return figure
