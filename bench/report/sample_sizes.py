"""The numbers of images and real images of the cells, and the precision that they reached."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core import distances
from bench.core.cell import Draw, of_any_size
from bench.report.formatting import decimal_places, escape, number
from bench.report.rows import CellRow, interval


def draws(all_rows: Sequence[CellRow]) -> list[tuple[Draw, list[int]]]:
    """The draws of the rows with their N in rising order; draws that differ in N alone are one."""
    counts: dict[Draw, set[int]] = {}
    for row in all_rows:
        counts.setdefault(of_any_size(row.cell.draw), set()).add(row.images)
    return [(draw, sorted(these)) for draw, these in counts.items()]


def span(counts: Sequence[int]) -> str:
    """The least and the largest of rising numbers."""
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def precision(all_rows: Sequence[CellRow]) -> list[str]:
    """Paragraphs on the wanted precision: what it was, which cells did not reach it, and what
    different N mean. Nothing where N was given."""
    asked = {(r.metric, r.precision) for row in all_rows if (r := row.record.rounds)}
    if not asked:
        return []
    wanted = ", ".join(f"±{size:g} of {escape(name)}" for name, size in sorted(asked))
    lines = [
        f"Each quantized cell was sampled in rounds until the 95% interval of its change was at "
        f"most {wanted}, full precision as far as its largest cell; a change is that at the N "
        f"of its row.",
    ]
    short = [text for row in all_rows if (text := _short(row))]
    if short:
        lines += ["", f"**The budget of images ended first** at {'; at '.join(short)}."]
    if len({row.images for row in all_rows if row.ok}) > 1:
        lines += [
            "",
            "Rows of different N do not compare, and FD less its change is full precision at the "
            "row's own N. Cells are ranked against those of equal N only.",
        ]
    return lines


def few_real(all_rows: Sequence[CellRow]) -> list[str]:
    """A warning where cells are held against few real images; nothing where they are enough."""
    told = [
        remark
        for row in all_rows
        if row.ok
        for remark in distances.few_real(
            row.images, row.record.real_images, row.cell.checkpoint.dataset
        )
    ]
    lines: list[str] = []
    for remark in dict.fromkeys(told):
        if lines:
            lines.append("")
        lines.append(f"**Few real images:** {escape(remark)}.")
    return lines


def _short(row: CellRow) -> str:
    """A cell that the budget stopped, with how precisely its change is known."""
    rounds = row.record.rounds
    if not row.ok or rounds is None or rounds.reached:
        return ""
    change = row.record.measurement(rounds.metric)
    ends = interval(change)
    name = escape(f"{row.checkpoint} {row.scheme} {row.backend}")
    if change is None or ends is None:
        return f"{name} (N = {row.images}, no interval)"
    half = number((ends[1] - ends[0]) / 2, decimal_places([change]))
    return f"{name} (N = {row.images}, ±{half})"
