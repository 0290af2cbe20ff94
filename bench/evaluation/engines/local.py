"""Engine `local`: one cell after the other in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.core.progress import Done, Progress
    from bench.core.protocols import Work
    from bench.core.record import Record
    from bench.evaluation.engines.crew import Item


def run(worker: Work, cells: Sequence[Item]) -> Iterator[Progress | Done | Record]:
    """Yield what the worker tells of the cells, parts or tasks, in order."""
    yield from worker(cells)
