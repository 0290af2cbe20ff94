"""The end of `bench run` and `bench score`: the answer of the report and a small table.

They go to stderr, as remarks do: the path of the report alone is data.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.core.printable import plain
from bench.core.record import Run
from bench.report.overview import answer
from bench.report.rows import rows
from bench.report.verdict import BETTER, FINE, HARMED, MARKS, OPEN, UNKNOWN, Verdict, verdicts
from bench.system import influences

COLOURS = {HARMED: "red", OPEN: "yellow", FINE: "green", BETTER: "green", UNKNOWN: "default"}
# Columns of a stream that is no terminal.
WIDTH = 120


def tell(run: Run, folder: Path) -> None:
    """Say what a written run found, on stderr."""
    console = Console(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        console = Console(stderr=True, highlight=False, emoji=False, width=WIDTH)
    found = verdicts(rows(run), influences.load(folder / influences.NAME))
    if found:
        console.print(table(found, is_unicode=console.encoding.startswith("utf")))
    console.print(Text(f"{plain(answer(found))}.", style="bold"))


def table(found: list[Verdict], is_unicode: bool = True) -> Table:
    """A line for each scheme: its verdict, by how much, and how far images moved."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("Scheme", "Verdict", "By how much", "Moved"):
        made.add_column(head, overflow="fold")
    for verdict in found:
        mark = f"{MARKS[verdict.word]} " if is_unicode else ""
        moved = verdict.moved().removeprefix("images moved ").removeprefix("to ")
        made.add_row(
            Text(plain(verdict.name)),
            Text(f"{mark}{plain(verdict.count())}", style=COLOURS[verdict.word]),
            Text(plain(verdict.amount(is_short=True))),
            Text(plain(moved)),
        )
    return made
