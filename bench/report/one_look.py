"""What a run says in one look, as Markdown: a line for each scheme, and all cells at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.formatting import NONE, escape, table
from bench.report.overview import answer, grid, guide
from bench.report.verdict import MARKS, Judged, Verdict, change_of


def lines(found: Sequence[Verdict]) -> list[str]:
    """The answer, a table of the verdicts, how to read it, and a table of many cells."""
    if not found:
        return []
    body = []
    for verdict in found:
        count = verdict.count()
        told = [verdict.name, f"{MARKS[verdict.word]} {count}", verdict.amount(), verdict.moved()]
        body.append([escape(part) for part in told])
    header = ["Scheme", "Who is harmed", "By how much", "How far images moved"]
    told = [f"**{escape(answer(found))}.**", "", *table(header, body, left=4)]
    if explained := guide(found):
        told += ["", explained]
    return [*told, *_cells(found)]


def _cells(found: Sequence[Verdict]) -> list[str]:
    """The change of each checkpoint under each scheme, with the mark of its verdict."""
    if (shown := grid(found)) is None:
        return []
    corner, heads, sides = shown
    body = [[escape(side), *(_cell(cell) for cell in cells)] for side, cells in sides.items()]
    return ["", *table([corner, *map(escape, heads)], body, left=1)]


def _cell(cell: tuple[Judged, Verdict] | None) -> str:
    if cell is None:
        return NONE
    judged, verdict = cell
    return f"{change_of(judged, verdict.digits)} {MARKS[judged.word]}"
