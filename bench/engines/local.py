"""Engine `local`: one cell after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.record import Record
from bench.spec import Cell


def run(work: Callable[[Cell], Record], cells: Sequence[Cell]) -> Iterator[Record]:
    """Yield the record of each cell in order."""
    for cell in cells:
        yield work(cell)
