"""Which integer kernels execute a run where the user does not say: those that are done first.

Every candidate computes the same quantized graph, and what disagrees with the simulation fails its
cell by the layer's name, so only time decides. It is estimated from sizes and from what was
measured once (docs/backends.md), never by a clock: the same command gives the same cells on every
machine of a kind, whatever else that does, and finds what it has in the cache. One run has one
kind of kernels, as rows of different ones do not compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.core.cell import Cell
from bench.core.record import Host
from bench.core.refusals import refusal
from bench.core.scheme import Scheme
from bench.evaluation.cost import outputs
from bench.system.instructions import VNNI, of_onednn

PLAIN, COMPILED, OPENVINO = "int8-x86", "int8-x86:compiled", "int8-openvino"
STREAMS = "int8-openvino:streams"


@dataclass(frozen=True)
class Speed:
    """What kernels take, in seconds of a core.

    Attributes:
        structure: once for networks of one structure, in each process.
        cell: for each cell.
        vnni: of a pass in float32 over one of theirs, on CPUs with instructions for 8-bit
            integers; 0 where they gain nothing over others, here and below.
        threads: the same of processes with several threads, measured with two.
        one_pass, halves: the same without such instructions, of layers in one pass, and of W8A8,
            which takes two; of one thread, so 0 for streams, which need several.
    """

    structure: float
    cell: float
    vnni: float
    threads: float
    one_pass: float
    halves: float


# Of the shipped network, batch 50, with VNNI, and with one thread capped to AVX2, where one pass
# is that of W7A8 (docs/backends.md).
SPEEDS = {
    PLAIN: Speed(0, 1.3, 1.59, 1.47, 1.28, 0.89),
    COMPILED: Speed(50, 1.5, 1.66, 1.93, 0, 0),
    OPENVINO: Speed(6, 3.7, 2.74, 2.06, 1.93, 1.40),
    STREAMS: Speed(8, 4.3, 0, 2.41, 0, 0),
}
# Seconds of a pass in float32 for each value that a layer puts out, of one thread and of several.
FLOAT32, SHARED = 8e-9, 5e-9
# Processes that build their own; their number is no reason for other kernels.
PROCESSES = 4


@dataclass(frozen=True)
class Choice:
    """Which kernels were chosen.

    Attributes:
        line: which they are and why; "" where there was nothing to choose.
        is_usual: whether they are those of every small run, of which nobody need be told.
    """

    line: str = ""
    is_usual: bool = True


def chosen(cells: Sequence[Cell], host: Host, allowed: Iterable[str]) -> tuple[list[Cell], Choice]:
    """The cells, those of `int8-x86` by the kernels that take least time.

    Args:
        cells: of a run, with all methods.
        host: that runs them.
        allowed: names of `SPEEDS` beside `int8-x86`.

    Returns:
        The cells, and which kernels it is.
    """
    given = [cell for cell in cells if cell.backend == PLAIN]
    names = [PLAIN, *allowed]
    if not given or len(names) < 2:
        return list(cells), Choice()
    if any(cell.draw.batch % host.threads for cell in given):
        # Such a batch is not cut into parts.
        names = [name for name in names if name != STREAMS]
    known = [name for name in names if _speed(name, given[0], host)]
    times = {name: seconds(name, given, host) for name in known}
    reasons: dict[str, str] = {}
    for name in sorted(times, key=lambda name: times[name]):
        refusals = (refusal(name, cell.scheme, host) for cell in given)
        reason = next(filter(None, refusals), None)
        if reason is None:
            break
        reasons[name] = reason
    else:
        return list(cells), Choice()
    made = [replace(cell, backend=name) if cell in given else cell for cell in cells]
    line = _told(name, reasons, given, host)
    halved = not is_fast(host) and any(in_halves(cell.scheme) for cell in given)
    return made, Choice(line, name == PLAIN and not reasons and not halved)


def seconds(name: str, cells: Sequence[Cell], host: Host) -> float:
    """Estimate of a process's seconds for cells by kernels of a name."""
    speed = SPEEDS[name]
    structures = {(c.checkpoint.source, outputs(c.checkpoint)) for c in cells}
    building = speed.structure * len(structures) * PROCESSES + speed.cell * len(cells)
    return building + _evaluating(name, cells, host)


def is_fast(host: Host) -> bool:
    """Whether a CPU has instructions for 8-bit integers, and libraries may use them."""
    return of_onednn(host.isa) in VNNI


def in_halves(scheme: Scheme) -> bool:
    """Whether layers of a scheme run in two halves on CPUs without VNNI."""
    return scheme.layer_bits(edge=False) == (8, 8) and not scheme.budget


def _evaluating(name: str, cells: Sequence[Cell], host: Host) -> float:
    """Seconds of the passes."""
    float32 = SHARED if host.threads > 1 else FLOAT32
    passes = ((c, c.draw.images * c.draw.steps * outputs(c.checkpoint)) for c in cells)
    return sum(count * float32 / _speed(name, cell, host) for cell, count in passes)


def _speed(name: str, cell: Cell, host: Host) -> float:
    speed = SPEEDS[name]
    if is_fast(host):
        return speed.threads if host.threads > 1 else speed.vnni
    return speed.halves if in_halves(cell.scheme) else speed.one_pass


def _told(name: str, refused: dict[str, str], cells: Sequence[Cell], host: Host) -> str:
    """The choice in a line."""
    kind = "with VNNI" if is_fast(host) else "without VNNI"
    if is_fast(host) and host.threads > 1:
        kind += " and two threads"
    # Checkpoints that cannot be loaded take no time.
    times = {other: _evaluating(other, cells, host) or 1 for other in (PLAIN, name, *refused)}
    ratios = {other: times[PLAIN] / times[other] for other in times}
    why = f", measured {ratios[name]:.1f} times as fast as {PLAIN} on CPUs {kind}"
    if name == PLAIN:
        why = "" if refused else ", as others take longer to build than so few images save"
    others = "".join(
        f"; {other} would be {ratios[other]:.1f} times as fast, but {reason}"
        for other, reason in refused.items()
    )
    told = f"integer kernels: {name}{why}{others} (--backend chooses)"
    if is_fast(host) or not any(in_halves(cell.scheme) for cell in cells):
        return told
    gain = SPEEDS[name].one_pass / SPEEDS[name].halves
    return f"{told}; without VNNI W8A8 runs in two halves, and W7A8 {gain:.1f} times as fast"


def allowed(named: Sequence[str], compiled: bool | None) -> list[str]:
    """The kernels that may be chosen, whether or not they run here.

    Args:
        named: backends that the user names, none for the default ones.
        compiled: whether integer kernels are compiled; None where that is open.
    """
    return [*([] if named else [OPENVINO, STREAMS]), *([COMPILED] if compiled is None else [])]
