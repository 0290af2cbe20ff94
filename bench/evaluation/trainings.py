"""Trainings as tasks of an engine: seeds of one recipe, on the cores or machines there are.

    recipes that differ in their seed -> TrainingTask -> weights, cards, snapshots in one folder

A training writes its files under its own name and goes on from its own snapshot, so a worker that
is killed costs what it did since that, and a command that is repeated finishes what is missing. A
training that fails, as one that diverges, stops no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import InputError
from bench.core.printable import short
from bench.core.progress import Done, Progress, Steps
from bench.core.record import Host
from bench.evaluation.engines.automatic import PROCESS
from bench.evaluation.worker import check_machine
from bench.system import disk
from bench.system.host import fingerprint

if TYPE_CHECKING:
    from bench.models.training.cards import Destination
    from bench.models.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingTask:
    """One training.

    Attributes:
        recipe: with its seed.
        destination: folder and names of the files, and the device.
        memory: bytes that a worker takes for it, about: its libraries, data and a small network.
    """

    recipe: Recipe
    destination: Destination
    memory: float = PROCESS

    def __str__(self) -> str:
        from bench.models.training import cards

        return cards.stem(self.recipe, self.destination)

    @property
    def group(self) -> str:
        """Its own: trainings share nothing."""
        return str(self)


@dataclass(frozen=True)
class TrainingWorker:
    """Trains on the machine where it is called.

    Attributes:
        device: where networks are evaluated.
        host: the machine that asks; only one of its arithmetic may answer.
        cache: the cache folder, by which machines of a cluster are checked.
    """

    device: str
    host: Host
    cache: Path

    def __call__(self, tasks: Iterable[TrainingTask]) -> Iterator[Progress | Done]:
        """Do one task after the other.

        Yields:
            `Progress` with a line now and then, then that the task is `Done`, with the text of its
            cards.

        Raises:
            InputError: a machine that does not allow what is to be done, or one whose arithmetic
                is not that of the command's.
        """
        check_machine(self.host, fingerprint(self.device))
        for task in tasks:
            yield (yield from _trained(task))


def _trained(task: TrainingTask) -> Steps[Done]:
    from bench.models.training import cards

    lines = cards.told(task.recipe, task.destination)
    try:
        while True:
            yield Progress(str(task), next(lines))
    except StopIteration as end:
        return Done(task, result=end.value)
    except disk.MachineError:
        raise
    except InputError as error:
        return Done(task, error=str(error))
    except Exception as error:
        if stop := disk.stops(error):
            raise stop from error
        return Done(task, error=short(f"{type(error).__name__}: {error}", 500))


def tasks(recipe: Recipe, destination: Destination, seeds: Sequence[int]) -> list[TrainingTask]:
    """A training of each seed; a name that is given has the seed behind it, unless that is 0."""
    made = []
    for seed in seeds:
        name = destination.name and destination.name + (f"-seed{seed}" if seed else "")
        own = recipe.changed({"seed": str(seed)})
        made.append(TrainingTask(own, replace(destination, name=name)))
    return made
