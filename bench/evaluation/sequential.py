"""Precision on demand: each cell is sampled in rounds until its change is known well enough.

After each round the change of a distance against full precision is measured with its 95%
interval; the cell stops where the half width is at most the wanted one, or where the budget ends.
N doubles from FIRST, so that few different N occur and cells of equal N compare. The noise of
image i depends on i alone and batches are kept, so a round costs its new images only.

To stop by the width alone keeps the coverage of the last interval asymptotically (Chow and Robbins
1965: the width depends on the images through a variance that hardly varies once N is large); with
N from FIRST on and few looks it keeps it here too, as docs/gate.md measures. The change of a
Fréchet distance falls with N, so the interval is one of the change *at the N that was reached*.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.core import distances, extensions
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.record import Measurement, Record, Rounds

if TYPE_CHECKING:
    from bench.evaluation.pipeline import Pipeline

# Least N of the first look, from the trials in docs/gate.md.
FIRST = 200
# The default budget, in images of the preset.
TIMES = 10

Work = Callable[[Cell], Record]
Engine = Callable[[Work, Sequence[Cell]], Iterable[Record]]


@dataclass(frozen=True)
class Rule:
    """When a cell has enough images.

    Attributes:
        precision: the widest half width of the change's 95% interval, in the metric's unit.
        budget: the most images of a cell.
    """

    precision: float
    budget: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.precision) and self.precision > 0):
            raise InputError(f"--precision must be above 0, not {self.precision:g}")
        if self.budget < FIRST:
            raise InputError(
                f"--precision starts with {FIRST} images: raise --images {self.budget}, the most "
                f"that a cell may take"
            )

    def counts(self) -> list[int]:
        """The planned N: doubling, the budget last."""
        found = [FIRST]
        while found[-1] < self.budget:
            found.append(min(2 * found[-1], self.budget))
        return found


def target(cell: Cell) -> tuple[str, str]:
    """(extractor, metric) whose change is to be known: the first Fréchet distance, else the first
    unpaired metric.

    Raises:
        InputError: all metrics are paired.
    """
    found = []
    for position, extractor in enumerate(cell.extractors):
        for name in cell.metrics:
            metric = extensions.lookup("metrics", name)
            fits = distances.kind(extractor) in metric.kinds if metric.kinds else not position
            if fits and not metric.paired:
                found.append((extractor, name))
    if not found:
        raise InputError("--precision is that of a change of a distance: add --metrics frechet")
    return next((pair for pair in found if pair[1] == "frechet"), found[0])


def sized(cell: Cell, images: int) -> Cell:
    """The cell with N images."""
    return replace(cell, draw=replace(cell.draw, images=images))


class Looks:
    """Cells of a run, each with as many images as the rule asks for.

    Args:
        pipeline: that runs them.
        rule: when to stop.
        tell: called with a line about each look.
    """

    def __init__(
        self, pipeline: Pipeline, rule: Rule, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self.pipeline, self.rule, self.tell = pipeline, rule, tell

    def run(self, cell: Cell) -> Record:
        """Sample and measure a quantized cell in rounds."""
        counts: list[int] = []
        seconds: Counter[str] = Counter()
        for images in self.rule.counts():
            counts.append(images)
            record = self.pipeline.run(_look(cell, images))
            seconds.update(record.seconds)
            if record.status != "ok":
                return replace(record, cell=sized(cell, images))
            change = _change(record)
            self.tell(f"{cell}: {_text(change)}")
            if reached := _reached(change, self.rule):
                break
        record = self.pipeline.run(sized(cell, images))
        name = change.name.split("@")[0]
        rounds = Rounds(name, self.rule.precision, reached, tuple(counts))
        seconds.update(record.seconds)
        return replace(record, seconds=dict(seconds), rounds=rounds)

    def known(self, cell: Cell) -> tuple[int, bool]:
        """(N, whether it is the last) of the look that a quantized cell has come to in the cache.

        Of a cell that is refused the first N is the last.
        """
        for images in self.rule.counts():
            record = self.pipeline.cached(_look(cell, images))
            if record is None:
                return images, self.pipeline.refusal(cell) is not None
            if _reached(_change(record), self.rule):
                break
        return images, True

    def planned(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells with the N that they will have: known from the cache, else the budget."""
        found = {
            id(cell): n if last else self.rule.budget
            for cell in cells
            if not cell.scheme.is_float
            for n, last in [self.known(cell)]
        }
        full = _most((cell, found[id(cell)]) for cell in cells if id(cell) in found)
        return [sized(cell, found.get(id(cell)) or full[cell.checkpoint.name]) for cell in cells]

    def all(
        self, cells: Sequence[Cell], engine: Engine, work: Callable[[Work], Work]
    ) -> list[Record]:
        """The records of all cells, in order.

        Full precision comes last, with the largest N of its quantized cells: their twins.

        Args:
            engine: that runs work over cells.
            work: wraps the work on a cell, to watch it.
        """
        quantized = [cell for cell in cells if not cell.scheme.is_float]
        records = list(engine(work(self.run), quantized))
        most = _most(
            (cell, r.cell.draw.images) for cell, r in zip(quantized, records, strict=True)
        )
        full = [cell for cell in cells if cell.scheme.is_float]
        sizes = [sized(cell, most[cell.checkpoint.name]) for cell in full]
        done = iter(engine(work(self.pipeline.run), sizes)), iter(records)
        return [next(done[0] if cell.scheme.is_float else done[1]) for cell in cells]


def _most(counts: Iterable[tuple[Cell, int]]) -> dict[str, int]:
    """The largest N by checkpoint."""
    found: dict[str, int] = {}
    for cell, images in counts:
        found[cell.checkpoint.name] = max(images, found.get(cell.checkpoint.name, 0))
    return found


def _look(cell: Cell, images: int) -> Cell:
    """The cell of N images with the one metric that decides: looks are cheap."""
    extractor, metric = target(cell)
    return sized(replace(cell, extractors=(extractor,), metrics=(metric,)), images)


def _change(record: Record) -> Measurement:
    return next(m for m in record.measurements if m.name.startswith("delta_"))


def _half_width(change: Measurement) -> float:
    if change.low is None or change.high is None:
        return math.inf
    return (change.high - change.low) / 2


def _reached(change: Measurement, rule: Rule) -> bool:
    return _half_width(change) <= rule.precision


def _text(change: Measurement) -> str:
    name = change.name.split("@")[0]
    if change.low is None:
        return f"N = {change.n}: {name} {change.value:+.3g}, no interval yet"
    return f"N = {change.n}: {name} {change.value:+.3g} ± {_half_width(change):.2g}"


def rule(precision: float | None, cells: Sequence[Cell]) -> Rule | None:
    """The rule of a run whose cells have the budget as their N, told on stderr; None for none.

    Raises:
        InputError: a bad number, nothing is quantized, or no metric compares with real images.
    """
    if precision is None:
        return None
    made = Rule(precision, cells[0].draw.images)
    if all(cell.scheme.is_float for cell in cells):
        raise InputError("--precision is that of a change by quantization: name another --scheme")
    counts = ", ".join(map(str, made.counts()))
    for extractor, metric in dict.fromkeys(map(target, cells)):
        print(
            f"N = {counts}: until the 95% interval of the change of {metric} ({extractor}) is at "
            f"most ±{precision:g}, for each cell",
            file=sys.stderr,
        )
    return made
