"""Engine `auto`, the default of `bench run`: another one, chosen by what is to be run.

On a CPU a small network gains little from a second thread, and what is done around it (export,
calibration, features, metrics) nothing. So there are several processes of one thread, as many as
cores, memory and the work allow; where memory allows fewer, they share the cores among them as
threads. Everything else is `local`: a single GPU, which one process fills, and a run that is over
before processes have started. Of several GPUs each has a process.

The number of threads is part of all keys, as it decides the last bits of sums; that of processes
is part of none. So `--workers N` leaves the threads of each at one, or on a GPU at its share of
the cores, whatever N is: `OMP_NUM_THREADS` alone changes it. The choice of `auto` rests on sizes
and not on a clock, and on nothing that is cached, so that a command that is repeated on a machine
finds its results.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core import extensions
from bench.core.cell import Cell, Checkpoint
from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.evaluation import cost
from bench.system import devices, disk, host, hub

if TYPE_CHECKING:
    from bench.evaluation.engines.crew import Item

AUTO, LOCAL, PROCESSES, RAY = "auto", "local", "processes", "ray"
MOST = 1000
# Values of layers that a process must have to compute before it pays: half a minute of one core.
LEAST = 2.5e9
# What a process takes beside its network: its libraries, graphs and features (measured: 1.2 GB).
PROCESS = 1.3e9
# The share of the machine's memory that processes may take.
SHARE = 0.5


def checked(name: str, workers: int | None = None, address: str | None = None) -> str:
    """The name of an engine, checked with its argument before anything is computed.

    Args:
        name: of an engine.
        workers: number of workers that the user asks for, None where that is left open.
        address: of a Ray cluster, None where that is left open.

    Raises:
        InputError: an unknown name, one that takes no argument, an argument that is none, or a
            number of workers or an address beside an engine that says it itself.
    """
    from bench.evaluation.worker import Worker

    if workers is not None and not 0 < workers < MOST:
        raise InputError(f"--workers must be 1 to {MOST - 1}, not {workers}")
    if address is not None and name != RAY:
        raise InputError(f"--address is that of a Ray cluster: say --engine {RAY}, not {name}")
    if name == RAY and (address or workers):
        name = f"{RAY}:{address or ''}" + (f",{workers}" if workers else "")
    elif workers is not None:
        if name not in (AUTO, PROCESSES):
            raise InputError(f"--workers says how many workers: leave out --engine {name}")
        return f"{PROCESSES}:{workers}"
    if name == AUTO:
        return name
    run = extensions.lookup("engines", name)
    # Given no cells, an engine looks at its argument and ends.
    if list(run(Worker(devices.CPU, disk.cache_root()), ())):
        raise InputError(f"engine {quoted(name)} gives records of cells that nobody asked for")
    return name


def threads_of(name: str, device: str) -> int:
    """Threads of each process of an engine where the user leaves them open: all cores in one
    process; of several one on a CPU, and of a GPU its share, whatever their number."""
    kind = name.partition(":")[0]
    if kind not in (PROCESSES, RAY) or name == PROCESSES:
        return host.cores()
    if device == devices.CPU:
        return 1
    return max(1, host.cores() // max(1, len(devices.visible(device))))


def chosen(cells: Sequence[Cell], device: str, given: int | None) -> tuple[str, int]:
    """The engine of a run, and the threads of each of its processes.

    Args:
        cells: of the run, with verified checkpoints.
        device: from `devices.find`.
        given: threads that the user asks for, None where that is left open.
    """
    cores = host.cores()
    threads = given or cores
    if device != devices.CPU:
        count = len(devices.visible(device))
        several = f"{PROCESSES}:{count}"
        return (several, given or threads_of(several, device)) if count > 1 else (LOCAL, threads)
    batches = sum(-(-cell.draw.images // cell.draw.batch) for cell in cells)
    most = min(cores // given if given else cores, batches, MOST - 1)
    most = min(most, int(_work(cells) / LEAST))
    if most < 2:
        return LOCAL, threads
    most = min(most, int(SHARE * host.memory() / memory_of(cells)))
    if most < 2:
        return LOCAL, threads
    return f"{PROCESSES}:{most}", given or cores // most


def _work(cells: Sequence[Cell]) -> float:
    """Values of layers that the cells compute, about."""
    outputs = {card: cost.outputs(card) for card in {cell.checkpoint for cell in cells}}
    return sum(cell.draw.images * cell.draw.steps * outputs[cell.checkpoint] for cell in cells)


def memory_of(cells: Sequence[Cell]) -> float:
    """Bytes of memory that a process which runs any of the cells takes, at most about."""
    return max(_bytes(card, cells) for card in {cell.checkpoint for cell in cells})


def memory_of_items(items: Sequence[Item]) -> float:
    """Bytes of memory that a process takes which does any of some cells, parts or tasks."""
    from bench.evaluation.parts import Part
    from bench.evaluation.resolved import ResolvedCell

    cells = [item.cell for item in items if isinstance(item, ResolvedCell | Part)]
    tasks = [item.memory for item in items if not isinstance(item, ResolvedCell | Part)]
    return max([*tasks, *([memory_of(cells)] if cells else [])])


def _bytes(card: Checkpoint, cells: Sequence[Cell]) -> float:
    """The memory of a process that runs cells of a checkpoint, at most about."""
    return memory_for(card, max(cell.draw.batch for cell in cells))


def memory_for(card: Checkpoint, batch: int) -> float:
    """Bytes of a process that evaluates a checkpoint, at most about: the weights in full
    precision, quantized and in a copy, and all values of a batch at once."""
    return PROCESS + 3 * _weights(card) + 4 * batch * cost.outputs(card)


def _weights(card: Checkpoint) -> int:
    """Bytes of the files of a checkpoint."""
    place = hub.folder(card.uri, card.revision)
    if not place.is_dir():
        return os.stat(place).st_size if place.exists() else 0
    return sum(os.stat(path).st_size for path in place.rglob("*") if path.is_file())
