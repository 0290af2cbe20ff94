"""How far images moved, in units of the noise floor.

A floor is a cell of the same checkpoint and noise whose execution everyone accepts (bfloat16,
another batch size), or a folder that the user names as such. By a paired metric the images of a
quantized cell moved r times as far as those of the floor:

    PSNR               r = ratio of the root mean square errors, geometric mean over the images
    other metrics      r = ratio of the mean distances, a distance being the value where lower is
                       better (LPIPS, FLIP), else what equal images would have more (1 - SSIM)

over the images that both have, paired image by image. Its interval is that of log r: for PSNR of
the mean difference in dB; else by the delta method, image i adding a_i / mean(a) - b_i / mean(b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core import estimates
from bench.core.cell import of_any_size
from bench.core.floors import KERNELS, backend
from bench.core.record import Measurement, Record
from bench.system.influences import Influences, key

DECIBEL = "dB"
# What equal images are given by metrics where higher is better and that is not 1.
EQUAL = {"ssimulacra2": 100.0}
# Paired numbers of whole sets are no means over images.
OF_SETS = ("fd_twin",)
# Full precision in bfloat16 is what most people take for the same images.
FIRST = backend("bf16")


@dataclass(frozen=True)
class Ratio:
    """How many times as far as the floor images moved.

    Attributes:
        metric: name of the measurement, without its N.
        value: the ratio, infinite where the floor did not move.
        low, high: ends of its 95% interval, None where there is none.
        images: number of pairs that both have.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    images: int


def floors_of(record: Record, records: Sequence[Record]) -> list[Record]:
    """The measured floors that a cell is held against: those of its checkpoint and noise."""
    cell = record.cell
    draw = of_any_size(cell.draw)
    return [
        other
        for other in records
        if other.cell.is_floor
        and other.status == "ok"
        and other.cell.checkpoint == cell.checkpoint
        and of_any_size(other.cell.draw) == draw
    ]


def title(record: Record) -> str:
    """What a floor is called in a sentence."""
    if record.elsewhere:
        return str(record.cell.scheme)
    return KERNELS.get(record.cell.backend.partition(":")[2], record.cell.backend)


def first(floors: Sequence[Record]) -> Record | None:
    """The floor whose unit is taken: bfloat16 where it was measured, else the first one."""
    preferred = [floor for floor in floors if floor.cell.backend == FIRST]
    return next(iter([*preferred, *floors]), None)


def ratios(record: Record, floor: Record, influences: Influences) -> list[Ratio]:
    """How many times as far as a floor the images of a cell moved, by each metric both have."""
    found = []
    for measurement in record.measurements:
        stem = measurement.name.split("@")[0]
        other = floor.measurement(stem)
        if other is None or not measurement.paired or stem.startswith(("delta_", *OF_SETS)):
            continue
        values = _values(record, measurement, influences), _values(floor, other, influences)
        if ratio := _ratio(stem, measurement, other, values):
            found.append(ratio)
    return found


def _values(record: Record, measurement: Measurement, influences: Influences) -> np.ndarray | None:
    """The metric of each image, (N,), None where it was not kept."""
    terms = influences.get(key(record.cell, measurement.name))
    return None if terms is None else measurement.value + terms


def _ratio(
    stem: str,
    measurement: Measurement,
    other: Measurement,
    values: tuple[np.ndarray | None, np.ndarray | None],
) -> Ratio | None:
    """The ratio by one metric; None where it is not defined."""
    a, b = values
    if a is None or b is None:
        return None
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    if measurement.unit == DECIBEL:
        logs = (b - a) * math.log(10) / 20
        return _interval(stem, float(logs.mean()), logs - logs.mean())
    if measurement.better == "higher":
        best = EQUAL.get(stem, 1.0)
        a, b = best - a, best - b
    means = float(a.mean()), float(b.mean())
    # Influences are kept in float32, so a mean of 0 may be off by their rounding.
    if means[1] <= 1e-6 * max(abs(other.value), 1e-3) or means[0] <= 0:
        return Ratio(stem, math.inf, None, None, count) if means[0] > 0 >= means[1] else None
    return _interval(stem, math.log(means[0] / means[1]), a / means[0] - b / means[1])


def _interval(stem: str, log: float, terms: np.ndarray) -> Ratio:
    ends: tuple[float | None, float | None] = estimates.interval(log, terms)
    low, high = (None if end is None else math.exp(min(end, 700.0)) for end in ends)
    return Ratio(stem, math.exp(min(log, 700.0)), low, high, len(terms))


def is_nearer(ratio: Ratio) -> bool:
    """Whether images moved less than the floor, beyond the noise."""
    return ratio.high is not None and ratio.high < 1


def worsening(record: Record, records: Sequence[Record], change: str) -> tuple[str, float | None]:
    """What executed the floor of a cell, and how much worse it is by a change (its name without
    N); ("", None) where that was not measured."""
    floor = first(floors_of(record, records))
    number = floor.measurement(change) if floor else None
    if floor is None or number is None or not math.isfinite(number.value):
        return "", None
    return title(floor), number.value if number.better == "lower" else -number.value
