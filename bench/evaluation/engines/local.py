"""Engine `local`: one cell after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.core.cell import Cell
from bench.core.record import Record


def run(work: Callable[[Cell], Record], cells: Sequence[Cell]) -> Iterator[Record]:
    """Yield the record of each cell in order."""
    for cell in cells:
        yield work(cell)
