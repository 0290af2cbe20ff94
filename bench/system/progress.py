"""A progress bar on stderr with the time left, drawn only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.core.cell import Cell
from bench.core.printable import plain
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
        self._unit = 0.0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def start(self, costs: Sequence[tuple[Cell, float]]) -> None:
        """Take the cells with their costs; cells that cost nothing are done at once."""
        self._costs = {str(cell): cost for cell, cost in costs}
        self._count, self._done = len(costs), 0
        total = sum(self._costs.values())
        self._task = self._progress.add_task("", total=total or 1.0)

    def advance(self, stage: str, batches: int) -> None:
        """Show what is going on; count batches that were sampled."""
        self._progress.update(self._task, description=plain(stage), advance=batches * self._unit)

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(plain(line), markup=False, highlight=False, soft_wrap=True)

    def watch(self, work: Callable[[Cell], Record]) -> Callable[[Cell], Record]:
        """The same work that also tells each finished cell; plain lines without a terminal."""

        def watched(cell: Cell) -> Record:
            missing = max(1, -(-cell.draw.images // cell.draw.batch))
            self._unit = self._costs[str(cell)] / missing
            record = work(cell)
            self._done += 1
            self._console.print(
                f"[{self._done}/{self._count}] {plain(str(cell))}: {record.status}", markup=False
            )
            return record

        return watched
