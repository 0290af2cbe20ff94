"""Engine `auto`, the default of `bench run`: another one, chosen by what is to be run.

On a CPU a small network gains little from a second thread, and what is done around it (export,
calibration, features, metrics) nothing. So where there are several checkpoints, there are several
processes: as many as checkpoints, cores and memory allow, which share the cores among them as
threads. Everything else is `local`: a GPU, which one process fills; a run that is over before
processes have started; and one checkpoint alone, whose cells wait for its images in full
precision.

The choice rests on sizes and not on a clock, and on nothing that is cached, so that a command that
is repeated on a machine finds its results. `OMP_NUM_THREADS` is kept where it is set.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench.core import extensions
from bench.core.cell import Cell, Checkpoint
from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.evaluation import cost
from bench.system import devices, disk, host, hub

AUTO, LOCAL = "auto", "local"
# Values of layers that a run must compute before processes pay: about a minute of one core.
LEAST = 5e9
# What a process takes beside its network: its libraries, graphs and features (measured: 1.2 GB).
PROCESS = 1.3e9
# The share of the machine's memory that processes may take.
SHARE = 0.5


def checked(name: str) -> str:
    """The name of an engine, checked with its argument before anything is computed.

    Raises:
        InputError: an unknown name, one that takes no argument, or an argument that is none.
    """
    from bench.evaluation.worker import Worker

    if name == AUTO:
        return name
    run = extensions.lookup("engines", name)
    # Given no cells, an engine looks at its argument and ends.
    if list(run(Worker(devices.CPU, disk.cache_root()), ())):
        raise InputError(f"engine {quoted(name)} gives records of cells that nobody asked for")
    return name


def chosen(cells: Sequence[Cell], device: str, given: int | None) -> tuple[str, int]:
    """The engine of a run, and the threads of each of its processes.

    Args:
        cells: of the run, with verified checkpoints.
        device: from `devices.find`.
        given: threads that the user asks for, None where that is left open.
    """
    cores = host.cores()
    threads = given or cores
    cards = list(dict.fromkeys(cell.checkpoint for cell in cells))
    most = min(cores // given if given else cores, len(cards))
    if device != devices.CPU or most < 2 or _work(cells) < LEAST:
        return LOCAL, threads
    room = SHARE * host.memory() / max(_bytes(card, cells) for card in cards)
    most = min(most, int(room))
    if most < 2:
        return LOCAL, threads
    return f"processes:{most}", given or cores // most


def _work(cells: Sequence[Cell]) -> float:
    """Values of layers that the cells compute, about."""
    outputs = {card: cost.outputs(card) for card in {cell.checkpoint for cell in cells}}
    return sum(cell.draw.images * cell.draw.steps * outputs[cell.checkpoint] for cell in cells)


def _bytes(card: Checkpoint, cells: Sequence[Cell]) -> float:
    """The memory of a process that runs cells of a checkpoint, at most about: the weights in
    full precision, quantized and in a copy, and all values of a batch at once."""
    batch = max(cell.draw.batch for cell in cells)
    return PROCESS + 3 * _weights(card) + 4 * batch * cost.outputs(card)


def _weights(card: Checkpoint) -> int:
    """Bytes of the files of a checkpoint."""
    place = hub.folder(card.uri, card.revision)
    if not place.is_dir():
        return os.stat(place).st_size if place.exists() else 0
    return sum(os.stat(path).st_size for path in place.rglob("*") if path.is_file())
