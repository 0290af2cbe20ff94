"""The cells of a run for the page: a heat map where they are many, and one table to read.

The heat map has the change of the distance to real images of each checkpoint under each scheme;
the table has a row for each quantized cell and six columns. Both are tables of HTML, which sort,
filter, and can be read aloud.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import floors
from bench.report.first_screen import CLASSES, mark, text
from bench.report.formatting import NONE, decimal_places, measured, number
from bench.report.overview import grid
from bench.report.verdict import MARKS, Judged, Verdict

# Largest share of colour in the ground of a cell, in percent: text stays readable on it.
DEPTH = 40
NUMBERS = ' class="numbers"'


def heat_map(found: Sequence[Verdict]) -> str:
    """The changes of all cells, by checkpoint and scheme; "" for a few of them."""
    if (shown := grid(found)) is None:
        return ""
    corner, heads, sides = shown
    largest = max((abs(c.value) for v in found for c in v.changes), default=0.0) or 1.0
    body = []
    for side, cells in sides.items():
        row = "".join(f"<td>{NONE}</td>" if c is None else _cell(*c, largest) for c in cells)
        body.append(f'<tr><th scope="row">{text(side)}</th>{row}</tr>')
    metrics = ", ".join(dict.fromkeys(verdict.metric for verdict in found if verdict.metric))
    caption = f"Change of {text(metrics)} by quantization: above 0 is worse, strong colours most"
    top = "".join(f'<th scope="col">{text(head)}</th>' for head in (corner, *heads))
    return _scrolled(
        f'<table class="heat sort"><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        "Heat map",
    )


def _cell(judged: Judged, verdict: Verdict, largest: float) -> str:
    if judged.change is None:
        return f"<td>{NONE}</td>"
    value = judged.change.value
    depth = round(DEPTH * min(1.0, abs(value) / largest))
    colour = "var(--bad)" if value > 0 else "var(--good)"
    style = f"background:color-mix(in srgb, {colour} {depth}%, var(--page))"
    shown = number(value, verdict.digits, signed=True)
    told = text(f"{measured(judged.change, verdict.digits, signed=True)}, {judged.word}")
    return (
        f'<td style="{style}" title="{told}">{shown} '
        f'<span class="{CLASSES[judged.word]}" aria-label="{judged.word}" role="img">'
        f"{MARKS[judged.word]}</span></td>"
    )


def table(found: Sequence[Verdict]) -> str:
    """A row for each quantized cell: who, under what, the verdict, harm, and how far it moved."""
    everyone = [judged for verdict in found for judged in verdict.judged]
    places = decimal_places([judged.row.fd_change for judged in everyone])
    psnr = decimal_places([judged.row.psnr for judged in everyone])
    has_floor = any(judged.ratio for judged in everyone)
    metric = next((verdict.metric for verdict in found if verdict.metric), "distance")
    second = any(j.row.fd_change for j in everyone) and found[0].group.metric != "fd_change"
    heads = ["Checkpoint", "Scheme", "Verdict", f"Change of {metric}"]
    heads += ["Change of FD"] if second else []
    heads.append("Moved, times the floor" if has_floor else "PSNR, dB")
    body = []
    for verdict in found:
        for judged in verdict.judged:
            harm = measured(judged.change, verdict.digits, signed=True)
            moved = measured(judged.row.psnr, psnr)
            if has_floor:
                moved = floors.times(judged.ratio) if judged.ratio else NONE
            line = [
                f'<th scope="row" title="{text(judged.row.checkpoint)}">{text(judged.name)}</th>',
                f"<td>{text(verdict.name)}</td><td>{mark(judged.word)}</td>",
                f'<td class="number">{text(harm)}</td>',
            ]
            if second:
                fd = measured(judged.row.fd_change, places, signed=True)
                line.append(f'<td class="number">{text(fd)}</td>')
            line.append(f'<td class="number">{text(moved)}</td>')
            body.append(f"<tr>{''.join(line)}</tr>")
    top = "".join(
        f'<th scope="col"{NUMBERS if k > 2 else ""}>{text(head)}</th>'
        for k, head in enumerate(heads)
    )
    control = (
        '<p class="control"><label for="filter">Show rows that contain</label> '
        '<input id="filter" type="search" autocomplete="off" placeholder="w4a8 harmed"> '
        '<output id="count" for="filter"></output></p>'
    )
    return control + _scrolled(
        f'<table id="cells" class="sort filtered"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        "Results of all quantized cells",
    )


def _scrolled(inner: str, label: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{inner}</div>'
