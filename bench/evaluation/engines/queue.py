"""Who does what next where each piece of work stands alone: a training, a probe of a checkpoint.

The counterpart of `bench.evaluation.engines.schedule`, which knows cells and their images. Pieces
of one group share what a worker loads for them: one that is at a group stays there, and another
begins at a group at which nobody is, as long as there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from bench.core.progress import Done, Progress
from bench.core.record import Record

# How often a piece of work is tried where the worker that is at it is killed.
TRIES = 3


class Task(Protocol):
    """A piece of work that needs no other one; its text tells it from all others of a command.

    Attributes:
        group: what it shares with others that a worker had better do, too.
        memory: bytes that a worker takes for it, about.
    """

    @property
    def group(self) -> str: ...

    @property
    def memory(self) -> float: ...


class Queue:
    """What is left to do, and who is at what.

    Args:
        tasks: in the order in which they are begun.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.left = list(tasks)
        self.busy: dict[int, Task] = {}
        self.near: dict[int, str] = {}
        self.tries: Counter[str] = Counter()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return not (self.left or self.busy)

    @property
    def waiting(self) -> int:
        """Pieces of work that nobody is at."""
        return len(self.left)

    def take(self, who: int) -> Task | None:
        """What a worker does next; None where nothing waits."""
        if not self.left:
            return None
        near, taken = self.near.get(who), {task.group for task in self.busy.values()}
        task = min(self.left, key=lambda each: (each.group != near, each.group in taken))
        self.left.remove(task)
        self.busy[who], self.near[who] = task, task.group
        return task

    def tell(self, who: int, told: Progress | Done | Record) -> None:
        """Take in what a worker tells."""
        if not isinstance(told, Progress):
            del self.busy[who]

    def lost(self, who: int, reason: str) -> list[Record | Done]:
        """Take in that a worker is gone: what it was at waits again, and is given up where it was
        tried often enough, which is told."""
        task = self.busy.pop(who)
        self.near.pop(who, None)
        self.tries[str(task)] += 1
        if self.tries[str(task)] < TRIES:
            self.left.insert(0, task)
            return []
        return [Done(task, error=reason)]
