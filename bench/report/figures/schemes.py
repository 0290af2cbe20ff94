"""What methods of quantization leave of a loss: all schemes of a run on the same two axes.

The schemes of a run that has more than bits (methods, or bits of each layer's own) stand below
each other, those of the same bits together and plain rounding first, so that what a method brings
is the distance between two marks. Many checkpoints are drawn as means over the trainings of their
methods, and the height is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.distances import frechet_title, kernel_title
from bench.core.printable import on_figure
from bench.core.scheme import Scheme
from bench.report.figures.drawing import (
    DPI,
    MEANS,
    Style,
    mean_and_ends,
    method_handles,
    place_legend,
    plain_axes,
    styles,
)
from bench.report.rows import CellRow, trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIMULATED = "simulated"
# Height of a scheme and of each further checkpoint in it, and of all else, in inches.
SCHEME, MARK, REST = 0.22, 0.09, 1.3
# More checkpoints than these are drawn as means where methods were trained several times.
MOST_MARKS = 12
HIGHEST = 14.0


def is_more(scheme: Scheme) -> bool:
    """Whether a scheme is more than bits, so that it has its place in this figure."""
    return bool(scheme.methods or scheme.budget)


def change(all_rows: Sequence[CellRow]) -> tuple[str, str]:
    """(field, title) of the distance whose change is drawn: KD where there is no FD."""
    used = [row.extractor for row in all_rows]
    if any(row.kd_change for row in all_rows) and not any(row.fd_change for row in all_rows):
        return "kd_change", kernel_title(used)
    return "fd_change", frechet_title(used)


def loss_by_scheme(all_rows: Sequence[CellRow]) -> Figure | None:
    """Two panels with a line for each scheme: PSNR, and the change of KD (of FD where there is no
    KD); a mark with its interval for each checkpoint. None where no scheme is more than bits."""
    from matplotlib.figure import Figure

    drawn = _drawn(all_rows)
    if not any(is_more(row.scheme) for row in drawn):
        return None
    ordered = sorted(dict.fromkeys(row.scheme for row in drawn), key=_order)
    lines = {scheme: [[row] for row in drawn if row.scheme == scheme] for scheme in ordered}
    has_means = max(map(len, lines.values())) > MOST_MARKS and _has_trainings(drawn)
    if has_means:
        lines = {scheme: _by_method(rows) for scheme, rows in lines.items()}
    most = max(map(len, lines.values()))
    height = min(HIGHEST, len(ordered) * (SCHEME + MARK * most) + REST)
    figure = Figure(figsize=(9.0, height), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    field = "kd_change" if any(row.kd_change for row in drawn) else change(all_rows)[0]
    title = kernel_title if field == "kd_change" else frechet_title
    name = title([row.extractor for row in all_rows])
    marks = styles(trained(all_rows))
    _panel(left, lines, "psnr", marks)
    _panel(right, lines, field, marks)
    right.axvline(0.0, color="#999999", linewidth=0.8, zorder=0)
    left.set_yticks(range(len(ordered)), [on_figure(scheme.label) for scheme in ordered])
    left.set_ylim(len(ordered) - 0.5, -0.5)
    left.set_xlabel("PSNR to own full-precision images, dB (left is worse)", fontsize=10)
    right.set_xlabel(f"Change of {name} (right is worse)", fontsize=10)
    if has_means:
        figure.supxlabel(MEANS, fontsize=10)
    place_legend(figure, method_handles(drawn, marks))
    return figure


def _drawn(all_rows: Sequence[CellRow]) -> list[CellRow]:
    """The measured quantized rows, of one kernel for each checkpoint and scheme: integers where
    there are some, as the simulation agrees with them."""
    rows: dict[tuple[str, Scheme], CellRow] = {}
    for row in all_rows:
        if not row.ok or row.scheme.is_float or row.scheme.elsewhere:
            continue
        key = row.checkpoint, row.scheme
        if key not in rows or rows[key].kernel == SIMULATED:
            rows[key] = row
    return list(rows.values())


def _has_trainings(drawn: Sequence[CellRow]) -> bool:
    """Whether a method was trained with several seeds."""
    seeds: dict[str, set[int]] = {}
    for row in drawn:
        seeds.setdefault(row.method, set()).add(row.cell.checkpoint.seed)
    return any(len(known) > 1 for known in seeds.values())


def _by_method(lines: Sequence[Sequence[CellRow]]) -> list[list[CellRow]]:
    """The rows of a scheme, those of a method together."""
    methods: dict[str, list[CellRow]] = {}
    for row in (row for rows in lines for row in rows):
        methods.setdefault(row.method, []).append(row)
    return list(methods.values())


def _order(scheme: Scheme) -> tuple[float, int, bool]:
    """Falling bits, and plain rounding before what is more; else as the run has them."""
    return -scheme.mean_bits, -scheme.act_bits, is_more(scheme)


def _panel(
    axes: Axes,
    lines: Mapping[Scheme, Sequence[Sequence[CellRow]]],
    field: str,
    marks: Mapping[str, Style],
) -> None:
    for place, members in enumerate(lines.values()):
        for k, rows in enumerate(members):
            if (drawn := mean_and_ends(rows, field)) is None:
                continue
            value, ends = drawn
            y = place + (k - (len(members) - 1) / 2) * 0.8 / max(len(members), 2)
            colour, mark = marks[rows[0].checkpoint]
            if ends:
                axes.plot(ends, [y, y], color=colour, linewidth=1.4)
            axes.plot([value], [y], mark, color=colour, markersize=5)
        if place:
            axes.axhline(place - 0.5, color="#eeeeee", linewidth=0.8, zorder=0)
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)
