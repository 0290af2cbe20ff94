"""How much worse a cell is than what it is held against, and the margin that matters.

The worsening w of a metric is its change, positive where it became worse. It has an influence of
each image, and so has a margin m that is a share of a measured number: where m is 3% of the
full-precision distance, each image moves m by 3% of what it moves that. Whether w is beyond m is
thus asked of w - m with the influences of both, and not of w alone as if m were known.

Against another run of the same noise, image i is held against image i. A run that has come to n
images only is held against the first n of the other one: their number is, to first order, that of
all of them plus the mean of the influences of the first n.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.core.record import Measurement, Record
from bench.system.influences import Influences, key
from bench.verdicts import matching
from bench.verdicts.thresholds import GLOB, MOST, Threshold

_SIZE = re.compile(r"(?P<size>[0-9.eE+-]+)(?P<percent>%?)")


@dataclass(frozen=True)
class Worsening:
    """w and m of n images.

    Attributes:
        metric: the change's name without its N.
        value, margin: w, and m >= 0, in the metric's unit.
        terms: influence of each image on w, (n,).
        margin_terms: on m, (n,); zeros where it is a given number.
    """

    metric: str
    value: float
    margin: float
    terms: np.ndarray
    margin_terms: np.ndarray

    @property
    def above(self) -> tuple[float, np.ndarray]:
        """w - m and its influences."""
        return self.value - self.margin, self.terms - self.margin_terms

    @property
    def below(self) -> tuple[float, np.ndarray]:
        """w + m and its influences."""
        return self.value + self.margin, self.terms + self.margin_terms

    @property
    def is_nothing(self) -> bool:
        """Whether no image moved and the number neither: equal images."""
        return self.value == 0 and not self.terms.any()


def margin(text: str, flag: str = "--margin") -> Threshold:
    """A margin of the command line: "0.5" in the metric's unit, "3%" of full precision's number.

    Raises:
        InputError: it is neither.
    """
    match = _SIZE.fullmatch(text.strip())
    try:
        size = float(match["size"]) if match else math.nan
    except ValueError:
        size = math.nan
    if not match or not 0 < size <= MOST:
        raise InputError(f"{flag} takes a size above 0, as 0.5 or 3%, not {quoted(text)}")
    return Threshold(relative=size / 100) if match["percent"] else Threshold(absolute=size)


def named(word: str, flag: str = "--margin") -> tuple[str, Threshold]:
    """(metric, margin) of METRIC:SIZE; the metric is the change's name, with `delta_`.

    Raises:
        InputError: it is something else.
    """
    metric, colon, size = word.strip().rpartition(":")
    if not colon or not re.fullmatch(r"[\w+-]+", metric) or len(metric) > GLOB:
        raise InputError(
            f"{flag} takes METRIC:SIZE, as kd_efficientnet:3% or fd_efficientnet:0.5, "
            f"not {quoted(word)}"
        )
    return f"delta_{metric.removeprefix('delta_')}", margin(size, flag)


def changes(record: Record) -> dict[str, Measurement]:
    """The changes against full precision that a record has, by their names without N."""
    stems = {matching.stem(each): each for each in record.measurements}
    return {name: each for name, each in stems.items() if name.startswith("delta_")}


def of_cell(record: Record, terms: Influences, metric: str, entry: Threshold) -> Worsening:
    """How much worse a quantized cell is than full precision.

    Args:
        record: of the cell, measured.
        terms: influences of its images, named as in a run's file.
        metric: the change's name without its N.
        entry: the margin.

    Raises:
        InputError: the record lacks the number or what the margin is a share of, or influences.
    """
    change, own = _found(record, terms, metric)
    sign = 1.0 if change.better == "lower" else -1.0
    size, margin_terms = entry.absolute or 0.0, np.zeros(len(own))
    if entry.relative is not None:
        number, whole = _found(record, terms, metric.removeprefix("delta_"))
        full = number.value - change.value
        if (share := entry.size(full)) > size:
            # The number less its change is full precision, of the same images.
            size, margin_terms = share, entry.relative * math.copysign(1, full) * (whole - own)
    return Worsening(metric, sign * change.value, size, sign * own, margin_terms)


def against(own: Worsening, base: tuple[Record, Influences]) -> Worsening:
    """How much worse a cell is than the same cell of another run, of the same noise.

    Args:
        own: against full precision, of at most as many images as the other cell has.
        base: record and influences of that.

    Raises:
        InputError: the other run lacks the number, its influences, or images.
    """
    old, before = _found(*base, own.metric)
    n = len(own.terms)
    if len(before) < n:
        raise InputError(f"{base[0].cell} has {len(before)} images in BASE, not {n}")
    sign = 1.0 if old.better == "lower" else -1.0
    # The influences of all images add up to 0 but for rounding.
    value = old.value + (float(np.mean(before[:n])) if n < len(before) else 0.0)
    terms = own.terms - sign * before[:n]
    return replace(own, value=own.value - sign * value, terms=terms)


def given(record: Record, metric: str, entry: Threshold) -> float:
    """The margin as a number, as `bench compare` takes it from its BASE.

    Raises:
        InputError: it is a share of a number that the record lacks.
    """
    measured = {matching.stem(each): each for each in record.measurements}
    full = matching.full_precision(metric, measured)
    if entry.relative is not None and full is None:
        raise InputError(
            f"the margin is a share of {metric.removeprefix('delta_')}, which {record.cell} lacks"
        )
    return entry.size(full or 0.0)


def _found(record: Record, terms: Influences, metric: str) -> tuple[Measurement, np.ndarray]:
    """A number of a record and the influences of its images."""
    measured: Mapping[str, Measurement] = {matching.stem(m): m for m in record.measurements}
    number = measured.get(metric)
    if number is None:
        known = ", ".join(changes(record)) or "none"
        raise InputError(f"{record.cell} has no {metric}; its changes are {known}")
    if not matching.defined(number.value):
        raise InputError(f"{metric} of {record.cell} is undefined")
    own = terms.get(key(record.cell, number.name))
    if own is None or len(own) != number.n:
        raise InputError(f"the influences of {number.name} of {record.cell} were not kept")
    return number, own
