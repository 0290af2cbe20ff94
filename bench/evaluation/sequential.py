"""Precision on demand: cells are sampled in rounds until each change is known well enough.

After each round the change of a distance against full precision is measured with its 95%
interval; the cell stops where the half width is at most the wanted one, or where the budget ends.
N doubles from FIRST, so that few different N occur and cells of equal N compare. The noise of
image i depends on i alone and batches are kept, so a round costs its new images only.

To stop by the width alone keeps the coverage of the last interval asymptotically (Chow and Robbins
1965: the width depends on the images through a variance that hardly varies once N is large); with
N from FIRST on and few rounds it keeps it here too, as docs/gate.md measures. The change of a
Fréchet distance falls with N, so the interval is one of the change *at the N that was reached*.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from bench.core import distances, extensions
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.record import Measurement, Record, Rounds
from bench.evaluation import records
from bench.evaluation.resolved import Resolver

# Least N of the first round, from the trials in docs/gate.md.
FIRST = 200
# The default budget, in images of the preset.
TIMES = 10


class Execute(Protocol):
    """Runs cells by the engine of a run; their records, in order. `counts` says whether these are
    cells of the run, and not an interim check of one."""

    def __call__(self, cells: Sequence[Cell], counts: bool) -> Sequence[Record]: ...


@dataclass(frozen=True)
class StoppingRule:
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
        planned = [FIRST]
        while planned[-1] < self.budget:
            planned.append(min(2 * planned[-1], self.budget))
        return planned

    def is_met(self, change: Measurement) -> bool:
        """Whether a change is known well enough."""
        return _half_width(change) <= self.precision


@dataclass
class _Sampled:
    """A quantized cell, and the N and record of each of its rounds."""

    cell: Cell
    rounds: list[tuple[int, Record]] = field(default_factory=list)

    @property
    def counts(self) -> list[int]:
        """N at each round."""
        return [images for images, _ in self.rounds]

    @property
    def last(self) -> Record:
        """The record of the last round."""
        return self.rounds[-1][1]

    @property
    def change(self) -> Measurement | None:
        """The change after the last round, None where the cell has no numbers."""
        return _change(self.last) if self.last.status == "ok" else None

    def seconds(self, final: Record) -> dict[str, float]:
        """Wall time of all rounds and of the final record, by stage."""
        total: Counter[str] = Counter()
        for record in (*(record for _, record in self.rounds), final):
            total.update(record.seconds)
        return dict(total)


def target(cell: Cell) -> tuple[str, str]:
    """(extractor, metric) whose change is to be known: the first Fréchet distance, else the first
    unpaired metric.

    Raises:
        InputError: all metrics are paired.
    """
    unpaired = []
    for position, extractor in enumerate(cell.extractors):
        for name in cell.metrics:
            metric = extensions.lookup("metrics", name)
            is_first = position == 0
            fits = distances.kind(extractor) in metric.kinds if metric.kinds else is_first
            if fits and not metric.paired:
                unpaired.append((extractor, name))
    if not unpaired:
        raise InputError("--precision is that of a change of a distance: add --metrics frechet")
    return next((pair for pair in unpaired if pair[1] == "frechet"), unpaired[0])


def sized(cell: Cell, images: int) -> Cell:
    """The cell with N images."""
    return replace(cell, draw=replace(cell.draw, images=images))


class SequentialRunner:
    """Runs the cells of a run, each with as many images as the rule asks for.

    Args:
        resolver: of the run's cells.
        rule: when to stop.
        tell: called with a line about each cell after each round.
    """

    def __init__(
        self,
        resolver: Resolver,
        rule: StoppingRule,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.resolver, self.rule, self.tell = resolver, rule, tell

    def known(self, cell: Cell) -> tuple[int, bool]:
        """(N, whether it is the last) of the round that a quantized cell has come to in the cache.

        Of a cell that is refused the first N is the last.
        """
        for images in self.rule.counts():
            look = self.resolver.resolve(_look(cell, images))
            record = records.cached(look)
            if record is None:
                return images, look.refusal is not None
            if self.rule.is_met(_change(record)):
                break
        return images, True

    def planned(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells with the N that they will have: known from the cache, else the budget."""
        counts: dict[Cell, int] = {}
        for cell in cells:
            if not cell.is_reference:
                images, is_last = self.known(cell)
                counts[cell] = images if is_last else self.rule.budget
        most = _most(counts.items())
        return [
            sized(cell, most[cell.checkpoint.name] if cell.is_reference else counts[cell])
            for cell in cells
        ]

    def run(self, cells: Sequence[Cell], execute: Execute) -> list[Record]:
        """The records of all cells, in order.

        Full precision comes last, with the largest N of its quantized cells: their twins.
        """
        compared = [cell for cell in cells if not cell.is_reference]
        finished = dict(zip(compared, self._compared(compared, execute), strict=True))
        most = _most((cell, record.cell.draw.images) for cell, record in finished.items())
        references = [cell for cell in cells if cell.is_reference]
        wanted = [sized(cell, most[cell.checkpoint.name]) for cell in references]
        finished |= zip(references, execute(wanted, counts=True), strict=True)
        return [finished[cell] for cell in cells]

    def _compared(self, cells: Sequence[Cell], execute: Execute) -> list[Record]:
        """The records of the cells that are held against full precision."""
        states = [_Sampled(cell) for cell in cells]
        waiting = list(states)
        for images in self.rule.counts():
            looks = execute([_look(state.cell, images) for state in waiting], counts=False)
            for state, record in zip(waiting, looks, strict=True):
                state.rounds.append((images, record))
                if state.change is not None:
                    self.tell(f"{state.cell}: {_text(state.change)}")
            waiting = [
                state
                for state in waiting
                if state.change is not None and not self.rule.is_met(state.change)
            ]
        return self._finished(states, execute)

    def _finished(self, states: Sequence[_Sampled], execute: Execute) -> list[Record]:
        """All metrics of the cells at the N that each of them has come to."""
        wanted = [sized(state.cell, state.counts[-1]) for state in states]
        good = [
            cell for cell, state in zip(wanted, states, strict=True) if state.change is not None
        ]
        measured = dict(zip(good, execute(good, counts=True), strict=True))
        outcomes = []
        for cell, state in zip(wanted, states, strict=True):
            if state.change is None:
                outcomes.append(replace(state.last, cell=cell))
                continue
            name, is_reached = state.change.name.split("@")[0], self.rule.is_met(state.change)
            rounds = Rounds(name, self.rule.precision, is_reached, tuple(state.counts))
            final = measured[cell]
            outcomes.append(replace(final, seconds=state.seconds(final), rounds=rounds))
        return outcomes


def _most(counts: Iterable[tuple[Cell, int]]) -> dict[str, int]:
    """The largest N by checkpoint."""
    largest: dict[str, int] = {}
    for cell, images in counts:
        largest[cell.checkpoint.name] = max(images, largest.get(cell.checkpoint.name, 0))
    return largest


def _look(cell: Cell, images: int) -> Cell:
    """The cell of N images with only the deciding metric, so that an interim check is cheap."""
    extractor, metric = target(cell)
    return sized(replace(cell, extractors=(extractor,), metrics=(metric,)), images)


def _change(record: Record) -> Measurement:
    return next(m for m in record.measurements if m.name.startswith("delta_"))


def _half_width(change: Measurement) -> float:
    if change.low is None or change.high is None:
        return math.inf
    return (change.high - change.low) / 2


def _text(change: Measurement) -> str:
    name = change.name.split("@")[0]
    if change.low is None:
        return f"N = {change.n}: {name} {change.value:+.3g}, no interval yet"
    return f"N = {change.n}: {name} {change.value:+.3g} ± {_half_width(change):.2g}"


def stopping_rule(precision: float | None, cells: Sequence[Cell]) -> StoppingRule | None:
    """The rule of a run whose cells have the budget as their N, told on stderr; None for none.

    Raises:
        InputError: a bad number, nothing is quantized, or no metric compares with real images.
    """
    if precision is None:
        return None
    rule = StoppingRule(precision, cells[0].draw.images)
    if all(cell.is_reference for cell in cells):
        raise InputError("--precision is that of a change by quantization: name another --scheme")
    counts = ", ".join(map(str, rule.counts()))
    for extractor, metric in dict.fromkeys(map(target, cells)):
        print(
            f"N = {counts}: until the 95% interval of the change of {metric} ({extractor}) is at "
            f"most ±{precision:g}, for each cell",
            file=sys.stderr,
        )
    return rule
