"""What an engine moves to where the work is done: a frozen value that runs resolved cells.

    worker, resolved cells, or parts of them -> progress and records, as values

Threads: how many a worker has decides the last bits of sums, so it is part of every key and never
of an engine's choice: `OMP_NUM_THREADS` of the command, which `bench.evaluation.engines.automatic`
sets where the user does not. How many workers there are, and which of them makes what, decides
nothing, and is part of no key.

A worker holds no network and no open file, so it can be pickled and sent to another process; what
it loads, it loads there, when it is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import InputError
from bench.core.progress import Done, Progress
from bench.core.record import Host, Record
from bench.evaluation.parts import Part
from bench.evaluation.pipeline import Pipeline
from bench.system import trust
from bench.system.host import fingerprint

if TYPE_CHECKING:
    from bench.evaluation.resolved import ResolvedCell

Told = Progress | Done | Record


@dataclass(frozen=True)
class Worker:
    """Runs cells on the machine where it is called.

    Attributes:
        device: where networks are evaluated, from `devices.find`.
        cache: the cache folder, which all workers of a run share.
        trusts_code: whether the code that cards name may be executed, as the command line says.
    """

    device: str
    cache: Path
    trusts_code: bool = field(default_factory=trust.allowed)

    def __call__(self, cells: Iterable[ResolvedCell | Part]) -> Iterator[Told]:
        """Run cells, or parts, one after the other; they are taken as they are come to.

        Yields:
            `Progress` while a cell is computed, then its `Record`, or of a part that it is `Done`.

        Raises:
            InputError: bad input, a machine that does not allow what is to be done, or a cell
                that was resolved for a machine whose arithmetic is not that of this one.
        """
        trust.allow(self.trusts_code)
        here = fingerprint(self.device)
        pipeline = Pipeline(here, self.cache)
        for cell in cells:
            check_machine(cell.host, here)
            if isinstance(cell, Part):
                yield (yield from pipeline.part(cell))
            else:
                yield (yield from pipeline.run(cell))


def check_machine(wanted: Host, here: Host) -> None:
    """Refuse to keep results of this machine under keys of another one.

    Args:
        wanted: the machine that asked for them.
        here: this one.

    Raises:
        InputError: their arithmetic or versions differ.
    """
    theirs = {**wanted.arithmetic, **wanted.versions}
    ours = {**here.arithmetic, **here.versions}
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise InputError(
                f"the engine works on {here.name}, where {name} is {value} and not "
                f"{theirs.get(name)} as on {wanted.name}, which asked for it: run the command "
                f"on such a machine"
            )
