"""The figures of the probes: loss against radius, spectrum, exposure bias, noise by layer and t.

Methods keep the colours and marks that they have in the figures of a run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.printable import on_figure
from bench.core.probe_record import ProbeRun, ProbeValue
from bench.report.figures import allocation
from bench.report.figures.drawing import DPI, LEGEND_LINE, MEANS, Style, plain_axes, save, styles
from bench.report.labels import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", "--", ":", "-.")
# More curves in a panel than these are means over trainings, with bars in place of bands.
MOST_CURVES = 9
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
    if len(set(entries(probed).values())) < len(checkpoints(probed)) > MOST_CURVES:
        figure.supxlabel(MEANS, fontsize=10)
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

    labels, marks, trainings = (
        entries(probed),
        _marks(probed),
        dict[tuple[str, str], list[Curve]](),
    )
    for name, _ in checkpoints(probed):
        rows = probed.rows(name, "loss_rise", direction=kind)
        for scheme in dict.fromkeys(row.scheme for row in rows):
            curve = Curve.of([row for row in rows if row.scheme == scheme], marks[name])
            trainings.setdefault((labels[name], scheme), []).append(curve)
    is_full = sum(map(len, trainings.values())) > MOST_CURVES
    for (label, scheme), curves in trainings.items():
        dash = DASHES[schemes.index(scheme) % len(DASHES)] if scheme else "-"
        for curve in _mean(curves) if is_full else curves:
            _draw(axes, curve, label, dash, is_full)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    _rise_axis(axes, [curve for curves in trainings.values() for curve in curves])
    axes.axhline(0.0, color="#999999", linewidth=0.8, zorder=0)
    if kind == "quantization" and len(schemes) > 1:
        dashes = (DASHES[k % len(DASHES)] for k in range(len(schemes)))
        lines = [Line2D([], [], color="#555555", ls=dash) for dash in dashes]
        axes.legend(lines, list(map(on_figure, schemes)), frameon=False, fontsize=9)
    axes.set_title(TITLES[kind], fontsize=11)
    axes.set_xlabel("Radius / norm of the weights", fontsize=10)
    axes.set_ylabel("Rise of the loss", fontsize=10)
    plain_axes(axes, "both")


@dataclass(frozen=True)
class Curve:
    """Values over radii, with the ends of their intervals where all have one."""

    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]
    mark: Style

    @classmethod
    def of(cls, rows: Sequence[ProbeValue], mark: Style) -> Curve:
        """The rows of one checkpoint, direction and scheme."""
        ordered = sorted(rows, key=lambda row: float(row.where["radius"]))
        low = [r.low for r in ordered if r.low is not None]
        high = [r.high for r in ordered if r.high is not None]
        has_all = len(low) == len(high) == len(ordered)
        x = [float(row.where["radius"]) for row in ordered]
        y = [row.value for row in ordered]
        return cls(x, y, low if has_all else [], high if has_all else [], mark)


def _mean(curves: Sequence[Curve]) -> list[Curve]:
    """The mean of trainings, from the least of them to the largest; as they are where their radii
    are not as many."""
    if len({len(curve.x) for curve in curves}) > 1 or len(curves) < 2:
        return list(curves)
    at = list(zip(*(curve.y for curve in curves), strict=True))
    x = [sum(each) / len(each) for each in zip(*(curve.x for curve in curves), strict=True)]
    y = [sum(each) / len(each) for each in at]
    return [Curve(x, y, list(map(min, at)), list(map(max, at)), curves[0].mark)]


def _draw(axes: Axes, curve: Curve, label: str, dash: str, is_full: bool) -> None:
    """One line, with a band, or with bars where bands would lie on each other."""
    colour, mark = curve.mark
    axes.plot(curve.x, curve.y, dash, color=colour, marker=mark, ms=4, lw=1.2, label=label)
    if curve.low and is_full:
        axes.vlines(curve.x, curve.low, curve.high, color=colour, lw=1.0)
    elif curve.low:
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.12, linewidth=0)


def _rise_axis(axes: Axes, curves: Sequence[Curve]) -> None:
    """Logarithmic, linear near 0 where a rise is not above it; no lower than what is drawn."""
    values = [value for curve in curves for value in (*curve.y, *curve.low)]
    if min(values) > 0:
        axes.set_yscale("log")
        return
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(bottom=1.1 * min(values) - 1e-4)


def _marks(probed: ProbeRun) -> dict[str, Style]:
    """Colour and mark of each checkpoint."""
    return styles({part.checkpoint: (part.method, part.seed) for part in probed.parts})


def spectrum(probed: ProbeRun) -> Figure | None:
    """The share of all directions whose eigenvalue is at least x: a step at each node."""
    from matplotlib.figure import Figure

    names = [(n, m) for n, m in checkpoints(probed) if probed.rows(n, "hessian_density")]
    if not names:
        return None
    figure = Figure(figsize=(7.2, 4.6), dpi=DPI, layout="constrained")
    axes, labels, marks = figure.subplots(), entries(probed), _marks(probed)
    for name, _ in names:
        # The largest eigenvalue comes first.
        rows = probed.rows(name, "hessian_density")
        colour, mark = marks[name]
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
    labels, marks = entries(probed), _marks(probed)
    for axes, number, title in (
        (left, "gap", "Squared norm of predicted noise:\nsampling minus noised data"),
        (right, "energy_distance", "Energy distance of x_t:\nsampled against noised data"),
    ):
        for name, _ in names:
            rows = [row for row in probed.rows(name, number) if not row.scheme]
            colour, mark = marks[name]
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
