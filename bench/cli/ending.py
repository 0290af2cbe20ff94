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
from bench.report import floors
from bench.report.formatting import NONE, number
from bench.report.overview import answer
from bench.report.rows import rows
from bench.report.verdict import (
    BETTER,
    FINE,
    HARMED,
    MARKS,
    OPEN,
    UNKNOWN,
    Judged,
    Verdict,
    verdicts,
)
from bench.system import influences

COLOURS = {HARMED: "red", OPEN: "yellow", FINE: "green", BETTER: "green", UNKNOWN: "default"}
# Columns of a stream that is no terminal.
WIDTH = 120
# More cells than these are counted by scheme.
MOST_LINES = 12


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
    """A line for each checkpoint under each scheme; where these are many, one for each scheme."""
    is_short = sum(len(verdict.judged) for verdict in found) <= MOST_LINES
    return (_cells if is_short else _schemes)(found, is_unicode)


def _cells(found: list[Verdict], is_unicode: bool) -> Table:
    """Whom each scheme harms, by how much with its interval, and how far the images moved."""
    made = _empty("Scheme", "Checkpoint", "Verdict", "Loss of quality [95%]", "Moved")
    for verdict in found:
        for judged in verdict.judged:
            made.add_row(
                Text(plain(verdict.name)),
                Text(plain(judged.name)),
                _marked(judged.word, judged.word, is_unicode),
                Text(plain(verdict.lost(judged))),
                Text(_moved(judged)),
            )
    return made


def _moved(judged: Judged) -> str:
    if judged.ratio:
        return f"{floors.times(judged.ratio).partition(' ')[0]} floors"
    psnr = judged.row.psnr
    return f"PSNR {number(psnr.value, 1)} dB" if psnr else NONE


def _schemes(found: list[Verdict], is_unicode: bool) -> Table:
    """How many checkpoints each scheme harms, from the least to the largest loss."""
    made = _empty("Scheme", "Verdict", "From least to most", "Moved")
    for verdict in found:
        moved = verdict.moved().removeprefix("images moved ").removeprefix("to ")
        made.add_row(
            Text(plain(verdict.name)),
            _marked(verdict.word, verdict.count(), is_unicode),
            Text(plain(verdict.amount(is_short=True))),
            Text(plain(moved)),
        )
    return made


def _empty(*heads: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        made.add_column(head, overflow="fold")
    return made


def _marked(word: str, told: str, is_unicode: bool) -> Text:
    mark = f"{MARKS[word]} " if is_unicode else ""
    return Text(f"{mark}{plain(told)}", style=COLOURS[word])
