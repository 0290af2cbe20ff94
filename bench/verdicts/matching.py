"""Two measurements of one name: whether they can be subtracted, and their difference.

A number that gates must be compared or fail, so everything that stands in the way is an obstacle
with a reason and a kind, by which `--allow` accepts it: another unit, direction, version or N, a
value that is undefined, or a difference whose error is not known.

An interval without width is no certainty. It means that no image moved the number, which says
nothing about images that were not drawn: such an interval counts as none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core import estimates
from bench.core.record import Measurement, Record

DIRECTIONS = ("lower", "higher")


@dataclass(frozen=True)
class Obstacle:
    """Why two numbers cannot be compared; `kind` is one of `findings.OBSTACLES` or "protocol"."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Change:
    """HEAD - BASE.

    Attributes:
        estimate: None where there is no error to hold it against.
        paired: whether it was taken image by image.
        remark: how it was computed, or why its error is not known; "" for nothing special.
    """

    estimate: estimates.Estimate | None
    paired: bool
    remark: str = ""


def stem(measurement: Measurement) -> str:
    """The name without N."""
    return measurement.name.split("@")[0]


def repeated(record: Record) -> set[str]:
    """The names without N that a record has more than once."""
    counts = Counter(map(stem, record.measurements))
    return {name for name, count in counts.items() if count > 1}


def defined(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def obstacle(old: Measurement, new: Measurement) -> Obstacle | None:
    """Why two measurements cannot be subtracted, None where they can."""
    name = stem(old)
    if old.version != new.version:
        return Obstacle("version", f"{name} version {old.version} → {new.version}")
    if old.unit != new.unit:
        return Obstacle("unit", f"unit of {name} {old.unit or 'none'} → {new.unit or 'none'}")
    if old.better != new.better:
        return Obstacle("unit", f"{name} is better {old.better} → {new.better}")
    if old.better not in DIRECTIONS:
        return Obstacle("unit", f"{name} does not say whether lower or higher is better")
    if old.paired != new.paired:
        return Obstacle("unit", f"{name} compares with the twins on one side only")
    if old.n != new.n:
        return Obstacle("protocol", f"N of {name} {old.n} → {new.n}")
    for side, measurement in (("HEAD", new), ("BASE", old)):
        if not defined(measurement.value):
            return Obstacle("undefined", f"undefined in {side}")
    return None


def full_precision(metric: str, measured: Mapping[str, Measurement]) -> float | None:
    """The number that a relative threshold is a share of; None where it is not known.

    For a change it is the full-precision value at the N of the cell, that is, the cell's own
    number less the change; for any other number it is the number itself.

    Args:
        measured: the cell's measurements by their names without N.
    """
    if not metric.startswith("delta_"):
        number = measured.get(metric)
        return number.value if number and defined(number.value) else None
    changed, change = measured.get(metric.removeprefix("delta_")), measured.get(metric)
    if not (changed and change and defined(changed.value) and defined(change.value)):
        return None
    return changed.value - change.value


def difference(
    old: Measurement, new: Measurement, terms: Sequence[np.ndarray | None], noise: bool
) -> Change:
    """The change from `old` to `new`, which no obstacle separates.

    Args:
        terms: the influences (N,) of the images of both, None where they were not kept.
        noise: whether both were drawn from the same noise.
    """
    value = new.value - old.value
    first, second = terms
    if noise and first is not None and second is not None and len(first) == len(second) == old.n:
        if value and not (first.any() or second.any()):
            return Change(None, True, "the influences of all images are 0: no error is known")
        estimate = estimates.estimate(value, second - first)
        return Change(estimate, True, "" if estimate else "undefined influences")
    after, before = (estimates.from_interval(m.value, m.low, m.high, m.n) for m in (new, old))
    if after is None or before is None:
        return Change(None, False, "no interval")
    remark = "unpaired: influences of both runs are needed" if noise else "other noise: unpaired"
    return Change(estimates.independent(after, before), False, remark)
