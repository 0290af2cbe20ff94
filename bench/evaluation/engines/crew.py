"""The loop that engines of several workers share: hand out, listen, take in who is gone.

    items -> Schedule (who does what next) -> a crew (where the workers are) -> what they tell

A crew knows how workers are started, spoken to and ended, and nothing of cells; the schedule knows
cells and nothing of processes or machines. So an engine is a crew: `processes` of this machine,
`ray` of a cluster. Tasks, of which none needs another, stand in a `Queue` in place of a schedule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.core.progress import Done, Progress
from bench.core.record import Record
from bench.evaluation.engines.queue import Queue, Task
from bench.evaluation.engines.schedule import Item as CellOrPart
from bench.evaluation.engines.schedule import Schedule
from bench.evaluation.parts import Part
from bench.evaluation.resolved import ResolvedCell

Item = CellOrPart | Task
Told = Progress | Done | Record


@dataclass(frozen=True)
class Gone:
    """A worker has ended before its work was done.

    Attributes:
        reason: why, in words; the error of cells that are given up.
    """

    reason: str


class Crew(Protocol):
    """Workers by number, from 0. One that is gone may be followed by another of its number."""

    def free(self, busy: Collection[int], waiting: int) -> Iterable[int]:
        """Those that take work now, the ones that run already first.

        Args:
            busy: workers that have work.
            waiting: pieces of work that nobody is at, so that no more workers are started.
        """

    def give(self, who: int, item: Item) -> None:
        """Hand over a piece of work."""

    def heard(self, busy: Collection[int]) -> Iterable[tuple[int, Told | Gone]]:
        """Wait until some of the workers with work tell something, or until others may be free.

        Raises:
            InputError: as for the worker.
        """

    def stop(self) -> None:
        """End all workers; what they have not finished is left."""


def told(items: Sequence[Item], crew: Crew) -> Iterator[Told]:
    """Yield what the workers of a crew tell of items, as it comes.

    Args:
        items: cells to run, and parts of them to make; or tasks.
        crew: who does it; it is stopped at the end, whatever that is.

    Raises:
        InputError: as for the worker.
    """
    schedule = _table(items)
    try:
        while not schedule.is_done:
            _hand_out(schedule, crew)
            for who, said in crew.heard(schedule.busy):
                if isinstance(said, Gone):
                    yield from schedule.lost(who, said.reason)
                else:
                    schedule.tell(who, said)
                    yield said
    finally:
        crew.stop()


def _table(items: Sequence[Item]) -> Schedule | Queue:
    """What says who does what next."""
    cells = [item for item in items if isinstance(item, ResolvedCell | Part)]
    if cells:
        return Schedule(cells)
    return Queue([item for item in items if not isinstance(item, ResolvedCell | Part)])


def _hand_out(schedule: Schedule | Queue, crew: Crew) -> None:
    """Give work to those who are free, as far as there is any that may be done now."""
    for who in crew.free(schedule.busy, schedule.waiting):
        item = schedule.take(who)
        if item is None:
            return
        crew.give(who, item)
