"""A progress bar on stderr: cells, images per second and the time left, on a terminal only.

The bar moves with every batch that is sampled, in units of what batches cost. Where a run is
interrupted it says what is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from bench.core.cell import Cell
from bench.core.printable import plain
from bench.core.progress import Progress as Work
from bench.core.record import Record

# Seconds over which the time left is estimated: batches of cells differ in their time.
WINDOW = 300.0


class Bar:
    """One bar over the cells of a run, in units of sampling cost."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._terminal = console.is_terminal
        self._console = console
        self._count = self._done = self._images = 0
        self._began: float | None = None
        self._progress = Progress(
            BarColumn(16),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[cells]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            # The last column alone gives way where the terminal is narrow.
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True)),
            expand=True,
            console=console,
            disable=not self._terminal,
            speed_estimate_period=WINDOW,
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._progress.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._count:
            self.tell(self.kept())

    def start(self, work: Sequence[tuple[Cell, int, float]]) -> None:
        """Take the cells of a run, each with its batches to sample and what one of them costs."""
        self._costs = {str(cell): cost for cell, _, cost in work}
        self._sizes = {str(cell): cell.draw.batch for cell, _, _ in work}
        self._count = len(work)
        total = sum(batches * cost for _, batches, cost in work)
        self._task = self._progress.add_task(
            "", total=total or 1.0, cells=f"cell 1 of {self._count}", rate=""
        )

    def advance(self, progress: Work) -> None:
        """Show what is going on; count batches that were sampled."""
        cost = self._costs.get(progress.subject, 0.0)
        self._images += progress.batches * self._sizes.get(progress.subject, 0)
        now = time.monotonic()
        # Before the first batch networks are loaded and calibrated, which is no sampling.
        self._began = self._began or now
        seconds = now - self._began
        rate = f"{self._images / seconds:.1f} images/s" if self._images and seconds else ""
        self._progress.update(
            self._task,
            description=plain(str(progress)),
            advance=progress.batches * cost,
            rate=rate,
            cells=f"cell {min(self._done + 1, self._count)} of {self._count}",
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

    def kept(self) -> str:
        """What an interrupted run leaves."""
        sampled = f", and {self._images:,} images sampled by this command" if self._images else ""
        return (
            f"kept in the cache: {self._done} of {self._count} cells{sampled}; no report was "
            f"written yet"
        )
