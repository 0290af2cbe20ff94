"""Engine `processes`: several processes of this machine, each with one cell at a time.

    processes:2     two processes
    processes       one for every so many cores as a process has threads (OMP_NUM_THREADS)

The number of threads decides the last bits of results, so it is that of the command in every
process. References are run before what is held against them, and cells of one calibration one
after the other, so that nothing is computed twice. Where the system ends a process, as for want of
memory, the cell that it was at has failed, and another process goes on with the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.core.record import Record
from bench.system import freed_memory
from bench.system.disk import MachineError
from bench.system.host import cores, threads

if TYPE_CHECKING:
    from bench.core.progress import Progress
    from bench.core.protocols import Work
    from bench.evaluation.resolved import ResolvedCell

# What a new process runs. Isolated (-I) nothing is imported from the working folder; what this
# process imports from is handed over instead.
START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    f"from {__name__} import serve; "
    "serve(int(sys.argv[1]))"
)
# Seconds that a process has to end before it is killed.
PATIENCE = 5.0


def run(
    worker: Work, cells: Sequence[ResolvedCell], argument: str = ""
) -> Iterator[Progress | Record]:
    """Yield what the worker tells of the cells, as it comes.

    Args:
        worker: to run in every process.
        cells: to run.
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
    return _told(worker, cells, most)


class _Process:
    """A process of this engine, and the cells that it was given and has not finished."""

    def __init__(self, worker: Work) -> None:
        self.connection, theirs = Pipe()
        # bench itself may be imported from where no path of this process says.
        here = Path(__file__).parents[len(__name__.split(".")) - 1]
        paths = [os.path.abspath(path) for path in sys.path if path]
        number = theirs.fileno()
        words = [sys.executable, "-I", "-c", START, str(number), *paths, str(here)]
        self.process = subprocess.Popen(words, pass_fds=[number], stdin=subprocess.DEVNULL)
        theirs.close()
        self.cells: deque[ResolvedCell] = deque()
        self._send(worker)

    def give(self, cells: Sequence[ResolvedCell]) -> None:
        """Hand over cells, which are run in order."""
        self.cells.extend(cells)
        self._send(list(cells))

    def _send(self, value: Any) -> None:
        # Where it is gone already, `receive` says so.
        with contextlib.suppress(OSError):
            self.connection.send(value)

    def receive(self) -> Progress | Record | None:
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
        if isinstance(told, Record):
            self.cells.popleft()
        return told

    def lost(self) -> Record:
        """The record of the cell at which it was ended."""
        wanted, code = self.cells.popleft(), self.process.wait()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        reason = f"its process was {how}: too little memory for as many processes, or killed"
        return Record(wanted.cell, wanted.host, "failed", None, (), {}, error=reason)

    def stop(self) -> None:
        """End it; what it has not finished is left."""
        self.connection.close()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _told(worker: Work, cells: Sequence[ResolvedCell], most: int) -> Iterator[Progress | Record]:
    waiting, processes = _groups(cells), list[_Process]()
    # The references that are not there yet, by the folder of their images.
    awaited = {wanted.images.folder for wanted in cells if wanted.cell.is_reference}
    try:
        while waiting or any(process.cells for process in processes):
            _hand_out(waiting, awaited, processes, worker, most)
            busy = {process.connection: process for process in processes if process.cells}
            for connection in wait(list(busy)):
                process = busy[connection]  # type: ignore[index]
                current = process.cells[0]
                told = process.receive()
                if told is None:
                    told = process.lost()
                    processes.remove(process)
                    process.stop()
                    if process.cells:
                        waiting.insert(0, list(process.cells))
                if isinstance(told, Record):
                    awaited.discard(current.images.folder)
                yield told
    finally:
        for process in processes:
            process.stop()


def _groups(cells: Sequence[ResolvedCell]) -> list[list[ResolvedCell]]:
    """The cells in groups of one process: references alone and first, then those of a calibration.

    Cells of one calibration share its result, and kernels are compared with the simulation.
    """
    groups: dict[Any, list[ResolvedCell]] = {}
    for wanted in sorted(cells, key=lambda wanted: not wanted.cell.is_reference):
        place = wanted.images.folder if wanted.cell.is_reference else wanted.images.calibration
        groups.setdefault(place, []).append(wanted)
    return list(groups.values())


def _hand_out(
    waiting: list[list[ResolvedCell]],
    awaited: set[Path],
    processes: list[_Process],
    worker: Work,
    most: int,
) -> None:
    """Give groups whose references are there to idle processes, of which some may be new."""
    for group in list(waiting):
        if any(not w.cell.is_reference and w.reference.folder in awaited for w in group):
            continue
        idle = next((process for process in processes if not process.cells), None)
        if idle is None:
            if len(processes) == most:
                return
            idle = _Process(worker)
            processes.append(idle)
        waiting.remove(group)
        idle.give(group)


def serve(number: int) -> None:
    """Run cells that come through a connection, until it ends; in a process of its own.

    Args:
        number: the file descriptor of the connection.
    """
    # A Ctrl-C reaches all processes of a terminal, and the one that started this one tells it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    freed_memory.keep()
    connection: Any = Connection(number)
    worker: Work = connection.recv()
    try:
        for told in worker(_received(connection)):
            connection.send(told)
    except InputError as error:
        kind = MachineError if isinstance(error, MachineError) else InputError
        connection.send(kind(str(error)))
    except OSError:
        # Nobody listens any more.
        sys.exit(1)


def _received(connection: Any) -> Iterator[ResolvedCell]:
    """Cells as they come, until the connection ends."""
    while True:
        try:
            cells = connection.recv()
        except (EOFError, OSError):
            return
        yield from cells
