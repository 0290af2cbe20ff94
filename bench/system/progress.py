"""A progress bar on stderr with the time left, drawn only on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.core.cell import Cell
from bench.core.printable import plain
from bench.core.progress import Progress as Work
from bench.core.record import Record


class Bar:
    """One bar over the cells of a run, in units of sampling cost."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._terminal = console.is_terminal
        self._console = console
        self._progress = Progress(
            BarColumn(24),
            TextColumn("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not self._terminal,
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def start(self, work: Sequence[tuple[Cell, int, float]]) -> None:
        """Take the cells of a run, each with its batches to sample and what one of them costs."""
        self._costs = {str(cell): cost for cell, _, cost in work}
        self._count, self._done = len(work), 0
        total = sum(batches * cost for _, batches, cost in work)
        self._task = self._progress.add_task("", total=total or 1.0)

    def advance(self, progress: Work) -> None:
        """Show what is going on; count batches that were sampled."""
        cost = self._costs.get(progress.subject, 0.0)
        self._progress.update(
            self._task, description=plain(str(progress)), advance=progress.batches * cost
        )

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(plain(line), markup=False, highlight=False, soft_wrap=True)

    def finish(self, record: Record) -> None:
        """Count a finished cell, and print a line of it."""
        self._done += 1
        self._console.print(
            f"[{self._done}/{self._count}] {plain(str(record.cell))}: {record.status}",
            markup=False,
        )
