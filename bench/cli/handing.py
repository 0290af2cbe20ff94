"""Hands cells to the engine of a run, and draws what comes back.

Where the memory does not hold a batch, all cells of that checkpoint go on with half of it: told,
and stated in the records. What is finished is kept.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.core import extensions
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.progress import Done, Progress
from bench.core.record import Record
from bench.evaluation import back_off
from bench.evaluation.engines import automatic
from bench.system import host

if TYPE_CHECKING:
    from bench.core.protocols import Work
    from bench.evaluation.planning import EvaluationPlan
    from bench.evaluation.resolved import Resolver
    from bench.system.progress import Bar

Tasks = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What does the work: local, processes:2, ray, ray:HOST:PORT (bench list).",
    ),
]


def engine(name: str, cells: Sequence[Cell], place: str, given: int | None) -> tuple[str, int]:
    """The engine of a run and the threads of its processes; what `auto` chose is told.

    Args:
        name: from `automatic.checked`.
        cells: of the run.
        place: device, from `devices.find`.
        given: threads that the user asks for, None where that is left open.
    """
    if name != automatic.AUTO:
        return name, given or automatic.threads_of(name, place)
    name, threads = automatic.chosen(cells, place, given)
    if name != automatic.LOCAL:
        each = "1 thread" if threads == 1 else f"{threads} threads"
        print(f"engine: {name}, {each} each", file=sys.stderr)
    return name, threads


class Execution:
    """Hands cells to the engine of a run, and draws and counts what it yields.

    Args:
        look: called with each thing that is yielded; what it raises ends the engine.
    """

    def __init__(
        self,
        plan: EvaluationPlan,
        resolver: Resolver,
        bar: Bar,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self.resolver, self.bar, self.look = plan, resolver, bar, look
        # What memory leaves of a batch, by checkpoint.
        self.batches: dict[str, int] = {}

    def __call__(self, cells: Sequence[Cell], counts: bool = True) -> list[Record]:
        """The records of cells, in their order; `counts` as in `sequential.Execute`."""
        outcomes: dict[Cell, Record] = {}
        while True:
            now = {cell: back_off.fitted(cell, self.batches) for cell in cells}
            left = [cell for cell in dict.fromkeys(now.values()) if cell not in outcomes]
            try:
                self._run(left, outcomes, counts)
            except back_off.OutOfMemory as error:
                self._halve(error)
                continue
            return [outcomes[now[cell]] for cell in cells]

    def _run(self, cells: Sequence[Cell], outcomes: dict[Cell, Record], counts: bool) -> None:
        """Add the records of cells, as they come."""
        if not cells:
            return
        wanted = [self.resolver.resolve(cell) for cell in cells]
        with told(self.plan, self.resolver, wanted) as events:
            for event in events:
                self.look()
                if isinstance(event, Record):
                    outcomes[event.cell] = event
                    if counts:
                        self.bar.finish(event)
                elif isinstance(event, Progress):
                    self.bar.advance(event)
        missing = [str(cell) for cell in cells if cell not in outcomes]
        if missing:
            raise InputError(
                f"engine {self.plan.engine} gave no record of {', '.join(missing)}: mend it, or "
                f"take another one by --engine"
            )

    def _halve(self, error: back_off.OutOfMemory) -> None:
        """Take half of a batch from now on.

        Raises:
            OutOfMemory: not even one image fits.
        """
        if error.batch < 2:
            raise error
        self.batches[error.checkpoint] = half = error.batch // 2
        self.bar.tell(
            f"{error.checkpoint}: the memory does not hold {error.batch} images at once: all of "
            f"its cells go on with --batch {half}"
        )


def told(
    plan: EvaluationPlan, resolver: Resolver, items: Sequence[Any]
) -> contextlib.AbstractContextManager[Iterator[Progress | Done | Record]]:
    """What the engine of a run tells of cells or parts, as `events`."""
    from bench.evaluation.worker import Worker

    return events(plan.engine, Worker(plan.device, resolver.cache), items)


def for_tasks(name: str, device: str) -> str:
    """The engine of a command of tasks, which has as many threads from now on as it takes.

    Args:
        name: as the user says it.
        device: from `devices.find`.

    Raises:
        InputError: an unknown engine, one that takes no such argument, or auto.
    """
    if automatic.checked(name) == automatic.AUTO:
        raise InputError(
            "--engine auto chooses by the cells of bench run: say local, processes:2 or ray here"
        )
    host.set_threads(host.given_threads() or automatic.threads_of(name, device))
    return name


@contextlib.contextmanager
def events(
    engine: str, worker: Work, items: Sequence[Any]
) -> Iterator[Iterator[Progress | Done | Record]]:
    """What an engine tells of cells, parts or tasks. It ends what it started, also where an
    error or a Ctrl-C stops the command."""
    events = extensions.lookup("engines", engine)(worker, items)
    try:
        yield events
    finally:
        if isinstance(events, Generator):
            events.close()
