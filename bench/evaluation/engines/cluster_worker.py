"""What runs on a machine of a cluster: a worker that is given one piece of work after the other.

It does not import Ray, so that it can be tried without, and is the same under any system that has
actors: objects that live in a process of their own.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import InputError
from bench.core.progress import Done
from bench.core.record import Record
from bench.core.tables import TABLES
from bench.evaluation.back_off import OutOfMemory
from bench.evaluation.closure import code_hash
from bench.system import artifacts, freed_memory
from bench.system.disk import MachineError
from bench.system.host import threads
from bench.system.instructions import CAPS

if TYPE_CHECKING:
    from bench.core.protocols import Work
    from bench.evaluation.engines.crew import Item, Told

# The modules of what engines run.
WORKERS = ("bench.evaluation.worker", "bench.evaluation.probing", "bench.evaluation.trainings")
# How often, once a second, it is looked for a file that another machine has just written.
LOOKS = 10
# Variables of this process that workers have, too; a cluster shows them to its users.
HANDED = re.compile("|".join((r"BENCH_\w+|HF_HOME|HF_HUB_\w+|AWS_ENDPOINT_URL", *CAPS)))


@dataclass(frozen=True)
class Token:
    """By what a machine is checked.

    Attributes:
        folder: the working folder of the command, from which paths may lead.
        path: of a file that the command wrote into the cache.
        text: its content.
        code: hash of bench's modules.
    """

    folder: Path
    path: Path
    text: str
    code: str

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return self.path.parent.parent


def code() -> str:
    """Hash (hex, 16 characters) of all modules of bench that a worker may run."""
    lines = [line for table in TABLES.values() for line in table.values()]
    return code_hash([*WORKERS, *(line.partition(":")[0] for line in lines)])


def environment(token: Token) -> dict[str, str]:
    """The variables that workers are started with."""
    # bench itself may be imported from where no path of the machines says.
    here = str(Path(__file__).parents[len(__name__.split(".")) - 1])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        **{name: value for name, value in os.environ.items() if HANDED.fullmatch(name)},
        "OMP_NUM_THREADS": str(threads()),
        "BENCH_CACHE": str(token.cache),
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in (*paths, here)),
    }


class ClusterWorker:
    """A worker in a process of its own.

    Args:
        given: the worker that runs cells, and what the machine is checked by.
    """

    def __init__(self, given: tuple[Work, Token]) -> None:
        worker, self.token = given
        freed_memory.keep()
        self.items: deque[Item] = deque()
        # One generator for all pieces of work, so that the network of the last one stays.
        self.told = iter(worker(self._given()))

    def _given(self) -> Iterator[Item]:
        while self.items:
            yield self.items.popleft()

    def ready(self) -> str:
        """The line that says why this machine is not fit; "" where it is."""
        name = platform.node()
        try:
            os.chdir(self.token.folder)
        except OSError as error:
            return (
                f"{name}, a machine of the Ray cluster, has no folder {self.token.folder} "
                f"({error.strerror}): start the command in a folder that all of them see"
            )
        if code() != self.token.code:
            return (
                f"{name}, a machine of the Ray cluster, has another bench than this one: install "
                f"the same on all of them"
            )
        if not self._sees_cache():
            return (
                f"{name}, a machine of the Ray cluster, does not see the cache "
                f"{self.token.cache}: set BENCH_CACHE to a folder on a disk that all of them "
                f"share, or BENCH_MIRROR to an object store"
            )
        return ""

    def _sees_cache(self) -> bool:
        for look in range(LOOKS):
            if look:
                # What one machine writes, a network disk shows to another one seconds later.
                time.sleep(1)
            path = self.token.path
            if artifacts.load_text(path, artifacts.bound(path)) == self.token.text:
                return True
        return False

    def do(self, item: Item) -> Iterator[Told | InputError | str]:
        """Do a piece of work.

        Yields:
            What the worker tells, and lines that it said on stderr, as one that a file of the
            cache is damaged. What stops the whole run comes as a value, as the last one.
        """
        self.items.append(item)
        try:
            yield from self._told()
        except OutOfMemory as error:
            yield error
        except InputError as error:
            kind = MachineError if isinstance(error, MachineError) else InputError
            yield kind(str(error))

    def _told(self) -> Iterator[Told | str]:
        is_done = False
        while not is_done:
            with contextlib.redirect_stderr(io.StringIO()) as said:
                told = next(self.told)
            yield from (line for line in said.getvalue().splitlines() if line[:6] == "bench:")
            yield told
            is_done = isinstance(told, Done | Record)
