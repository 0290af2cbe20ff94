"""Adds the cells of the noise floor to a run: full precision, executed as everyone accepts it.

    cells, what the user asks for -> cells with floors right after each reference

By default bfloat16 is measured on as many images as cost a tenth of the run's sampling, and not at
all where that is less than a batch for each checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from bench.core import extensions, floors
from bench.core.cell import Cell
from bench.core.errors import InputError, offer
from bench.core.printable import quoted
from bench.core.record import Host
from bench.evaluation.cost import sampling_cost

AUTO, NONE, DEFAULT = "auto", "none", floors.BFLOAT16
# Share of the sampling of a run that a floor costs at most where nobody asked for it.
SHARE = 0.1
# Metrics besides the paired ones whose value does not depend on the number of images.
UNBIASED = ("kernel", "cmmd")


def named(word: str) -> list[str]:
    """The floors that a word of the command line names.

    Raises:
        InputError: an unknown name, or one of the words that stand alone beside others.
    """
    names = word.split(",")
    if word in (AUTO, NONE):
        return []
    for name in names:
        if name in (AUTO, NONE):
            raise InputError(f"--floor {name} stands alone, not in {quoted(word)}")
        if name not in floors.KERNELS:
            known = [*floors.KERNELS, AUTO, NONE]
            raise InputError(f"unknown floor {quoted(name)}: {offer(name[:100], known)}")
    return list(dict.fromkeys(names))


def beside(cells: Sequence[Cell], word: str, host: Host) -> list[Cell]:
    """The cells of a run with those of its floors.

    Args:
        cells: of one run.
        word: "auto", "none", or names of `bench.core.floors.KERNELS` with commas between them.
        host: the machine.

    Raises:
        InputError: an unknown name, or a floor that cannot be measured on this machine.
    """
    names = named(word)
    if word == NONE or not any(not cell.is_reference for cell in cells):
        return list(cells)
    for name in names:
        made = extensions.lookup("backends", floors.backend(name))()
        if reason := made.refuses(cells[0].reference.scheme, host):
            raise InputError(f"--floor {name}: {reason}")
        if half := [cell for cell in cells if not _has(cell, name)]:
            raise InputError(
                f"--floor {name}: card {half[0].checkpoint.name!r} is computed in "
                f"{half[0].draw.dtype} itself; name another floor"
            )
    affordable = _affordable(cells) if word == AUTO else math.inf
    if not affordable:
        return list(cells)
    extended = []
    for cell in cells:
        extended.append(cell)
        if cell.is_reference:
            wanted = [name for name in names or [DEFAULT] if _has(cell, name)]
            extended += [_floor(cell, name, affordable) for name in wanted]
    return extended


def _has(cell: Cell, name: str) -> bool:
    """Whether a floor is another execution than the cell's own full precision."""
    return name != floors.BFLOAT16 or cell.draw.dtype == "float32"


def _affordable(cells: Sequence[Cell]) -> int:
    """Images of each checkpoint whose floor costs a tenth of the run, in whole batches."""
    references = [cell for cell in cells if cell.is_reference]
    if not references:
        return 0
    total = sum(sampling_cost(cell, -(-cell.draw.images // cell.draw.batch)) for cell in cells)
    batch = max(sampling_cost(_floor(cell, DEFAULT, math.inf)) for cell in references)
    batches = int(SHARE * total / len(references) / batch)
    return batches * min(cell.draw.batch for cell in references)


def _floor(reference: Cell, name: str, most: float) -> Cell:
    """The cell of a floor; with fewer images than its reference it has no number that depends on
    how many there are."""
    images = int(min(reference.draw.images, most))
    metrics = {name: extensions.lookup("metrics", name) for name in reference.metrics}
    kept = [
        name
        for name, metric in metrics.items()
        if not getattr(metric, "simulated", False)
        and (images == reference.draw.images or name in UNBIASED or not metric.kinds)
        and metric.least <= images
    ]
    return replace(
        reference,
        backend=floors.backend(name),
        draw=replace(reference.draw, images=images),
        metrics=tuple(kept),
    )
