"""Engine `processes`: several workers of this machine, over cells and over batches of one cell.

    processes:2     two processes
    processes       one for every so many cores as a process has threads (OMP_NUM_THREADS)

`bench.evaluation.engines.crew` hands out, and `schedule` says who does what. The number of
threads decides the last bits of results, so it is that of the command in every process; how many
processes there are decides nothing. Where they take all cores that this process may use, each
keeps to cores of its own (with less, those of two commands would meet on the first cores); of
several accelerators each has one. Where the system ends a process, as for want of memory, another
one goes on with what it was at. Where a template was prepared (`template`), each is a copy of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING, Any, cast

from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.evaluation.back_off import OutOfMemory
from bench.evaluation.engines import crew, template
from bench.evaluation.engines.crew import Gone, Item, Told
from bench.system import devices, freed_memory, interrupts
from bench.system.disk import MachineError
from bench.system.host import cores, threads

if TYPE_CHECKING:
    from bench.core.protocols import Work

# What a new process runs. Isolated (-I) nothing is imported from the working folder; what this
# process imports from is handed over instead.
START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    f"from {__name__} import serve; "
    "serve(int(sys.argv[1]))"
)
# Seconds that a process has to end before it is killed.
PATIENCE = 5.0


def run(worker: Work, cells: Sequence[Item], argument: str = "") -> Iterator[Told]:
    """Yield what the worker tells of the cells, as it comes.

    Args:
        worker: to run in every process.
        cells: to run, or parts of them to make, or tasks.
        argument: number of processes, "" for as many as the cores allow.

    Raises:
        InputError: no such number, or as for the worker.
    """
    if argument and not (argument.isascii() and argument.isdigit() and 0 < int(argument) < 1000):
        raise InputError(
            f"engine processes takes a number of processes, as in processes:2, not "
            f"{quoted(argument)}"
        )
    most = int(argument) if argument else max(1, cores() // threads())
    return crew.told(cells, _Processes(worker, most))


class _Process:
    """A process of this engine.

    Args:
        worker: that it runs.
        cores: that it keeps to, None for all.
        environment: variables that it has beside those of this process.
    """

    def __init__(
        self,
        worker: Work,
        cores: Sequence[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.connection, theirs = Pipe()
        ready = None if environment else template.prepared()
        forked = ready and ready.forked(theirs.fileno())
        self.process = forked or _started(theirs.fileno(), environment or {})
        if cores:
            # It may be gone already, and some systems allow no choice.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.process.pid, cores)
        theirs.close()
        self.give(worker)

    def give(self, value: Any) -> None:
        """Hand over the worker, and then what it does."""
        # Where it is gone already, `receive` says so.
        with contextlib.suppress(OSError):
            self.connection.send(value)

    def receive(self) -> Told | None:
        """What it tells next; None where it was ended.

        Raises:
            InputError: as for the worker.
        """
        try:
            told: Any = self.connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(told, InputError):
            raise told
        return cast("Told", told)

    def reason(self) -> str:
        """Why nothing more comes from it."""
        code = self.process.wait()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"its process was {how}: too little memory for as many processes, or killed"

    def stop(self) -> None:
        """End it; what it has not finished is left."""
        self.connection.close()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _started(number: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A new process that serves a connection, by the number of its file descriptor."""
    words = [sys.executable, "-I", "-c", START, str(number), *template.paths()]
    variables = {**template.environment(threads()), **environment}
    with interrupts.held_back():
        return subprocess.Popen(words, pass_fds=[number], stdin=subprocess.DEVNULL, env=variables)


class _Processes:
    """The processes of this engine, each started when it first gets work.

    Args:
        worker: that they run.
        most: how many there may be.
    """

    def __init__(self, worker: Work, most: int) -> None:
        self.worker, self.most = worker, most
        self.running: dict[int, _Process] = {}

    def free(self, busy: Collection[int], waiting: int) -> list[int]:
        """Those without work, the ones that run already first."""
        every = sorted(range(self.most), key=lambda slot: slot not in self.running)
        return [slot for slot in every if slot not in busy]

    def give(self, slot: int, item: Item) -> None:
        """Hand over a piece of work, to a new process where there is none of that number."""
        if slot not in self.running:
            where = _cores(slot, self.most), _visible(slot, self.worker)
            self.running[slot] = _Process(self.worker, *where)
        self.running[slot].give(item)

    def heard(self, busy: Collection[int]) -> Iterator[tuple[int, Told | Gone]]:
        """What comes next, from one process or several."""
        slots = {self.running[slot].connection: slot for slot in busy}
        for connection in wait(list(slots)):
            slot = slots[connection]  # type: ignore[index]
            told = self.running[slot].receive()
            if told is None:
                gone = self.running.pop(slot)
                yield slot, Gone(gone.reason())
                gone.stop()
            else:
                yield slot, told

    def stop(self) -> None:
        """End them all."""
        for process in self.running.values():
            process.stop()


def _cores(slot: int, most: int) -> list[int] | None:
    """The cores that a process keeps to; None where all of them together do not take all."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    every, each = sorted(os.sched_getaffinity(0)), threads()
    return every[slot * each : (slot + 1) * each] if most * each == len(every) else None


def _visible(slot: int, worker: Work) -> dict[str, str]:
    """The variables by which a process sees one accelerator of several alone."""
    every = devices.visible(getattr(worker, "device", devices.CPU))
    return {devices.VISIBLE: every[slot % len(every)]} if len(every) > 1 else {}


def serve(number: int) -> None:
    """Do what comes through a connection, until it ends; in a process of its own.

    Args:
        number: the file descriptor of the connection.
    """
    interrupts.end_at_once()
    freed_memory.keep()
    connection: Any = Connection(number)
    worker: Work = connection.recv()
    try:
        for told in worker(_received(connection)):
            connection.send(told)
    except OutOfMemory as error:
        connection.send(error)
    except InputError as error:
        kind = MachineError if isinstance(error, MachineError) else InputError
        connection.send(kind(str(error)))
    except OSError:
        # Nobody listens any more.
        sys.exit(1)


def _received(connection: Any) -> Iterator[Item]:
    """Work as it comes, until the connection ends."""
    while True:
        try:
            yield connection.recv()
        except (EOFError, OSError):
            return
