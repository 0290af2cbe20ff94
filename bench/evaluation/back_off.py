"""Too little memory for a batch: half of it is tried, for all cells of the checkpoint alike.

The batch decides the last bits of sums, so it is part of every key and stands in the record; it
is halved where the cells of a run are handed out, and never in secret where images are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.core.cell import Cell
from bench.system import surroundings
from bench.system.disk import MachineError


class OutOfMemory(MachineError):
    """The memory does not hold a batch of a checkpoint.

    Args:
        line: what to do about it.
        checkpoint: name of the checkpoint.
        batch: images of the batch.
    """

    def __init__(self, line: str, checkpoint: str, batch: int) -> None:
        super().__init__(line, checkpoint, batch)
        self.checkpoint, self.batch = checkpoint, batch

    def __str__(self) -> str:
        return str(self.args[0])


def out_of_memory(error: BaseException, cell: Cell) -> OutOfMemory | None:
    """The error as that of a batch that does not fit, None where it is another one."""
    for link in _links(error):
        if line := surroundings.no_memory(link):
            line = f"{line}, and repeat the command: what was finished is kept"
            return OutOfMemory(line, cell.checkpoint.name, cell.draw.batch)
    return None


def _links(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__


def fitted(cell: Cell, batches: Mapping[str, int]) -> Cell:
    """The cell with the batch that its checkpoint is left with, if that is smaller."""
    batch = min(cell.draw.batch, batches.get(cell.checkpoint.name, cell.draw.batch))
    return replace(cell, draw=replace(cell.draw, batch=batch))
