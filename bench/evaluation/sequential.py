"""Cells are sampled in rounds until a rule has what it asks for: a precision, or a verdict.

For a precision the change of a distance against full precision is measured after each round with
its 95% interval; the cell stops where the half width is at most the wanted one, or where the
budget ends (for a verdict see `bench.verdicts.until_decided`).
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
from bench.core.record import Measurement, Record
from bench.core.rounds import Rounds
from bench.evaluation import records
from bench.evaluation.resolved import Resolver
from bench.evaluation.rules import Rule
from bench.system.influences import Influences

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
    """Ends where a change is known precisely enough.

    Attributes:
        precision: the widest half width of the change's 95% interval, in the metric's unit.
        budget: the most images of a cell.
        preferred: the metric that decides, where a cell has it.
    """

    precision: float
    budget: int
    preferred: str = "frechet"

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

    def is_met(self, look: Record, terms: Influences) -> bool:
        """Whether a change is known well enough."""
        return _half_width(_change(look)) <= self.precision

    def text(self, look: Record, terms: Influences) -> str:
        """The change and its half width."""
        return _text(_change(look))

    def noted(
        self, final: Record, look: Record, terms: Influences, counts: Sequence[int]
    ) -> Record:
        """The record with its rounds."""
        name = _change(look).name.split("@")[0]
        rounds = Rounds(name, self.precision, self.is_met(look, terms), tuple(counts))
        return replace(final, rounds=rounds)


@dataclass
class _Sampled:
    """A quantized cell, the N and record of each of its rounds, and the influences at the last."""

    cell: Cell
    rounds: list[tuple[int, Record]] = field(default_factory=list)
    terms: Influences = field(default_factory=dict)

    @property
    def counts(self) -> list[int]:
        """N at each round."""
        return [images for images, _ in self.rounds]

    @property
    def last(self) -> Record:
        """The record of the last round."""
        return self.rounds[-1][1]

    @property
    def is_measured(self) -> bool:
        """Whether the cell has numbers."""
        return self.last.status == "ok"

    def seconds(self, final: Record) -> dict[str, float]:
        """Wall time of all rounds and of the final record, by stage."""
        total: Counter[str] = Counter()
        for record in (*(record for _, record in self.rounds), final):
            total.update(record.seconds)
        return dict(total)


def target(cell: Cell, preferred: str = "frechet") -> tuple[str, str]:
    """(extractor, metric) whose change is to be known: the first of the preferred metric, else of
    any unpaired one.

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
        flag = "--precision is that" if preferred == "frechet" else "--until-decided asks"
        raise InputError(f"{flag} of a change of a distance: add --metrics {preferred}")
    return next((pair for pair in unpaired if pair[1] == preferred), unpaired[0])


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
        rule: Rule,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.resolver, self.rule, self.tell = resolver, rule, tell

    def known(self, cell: Cell) -> tuple[int, bool]:
        """(N, whether it is the last) of the round that a quantized cell has come to in the cache.

        Of a cell that is refused the first N is the last.
        """
        for images in self.rule.counts():
            look = self.resolver.resolve(self._look(cell, images))
            record = records.cached(look)
            if record is None:
                return images, look.refusal is not None
            if self.rule.is_met(record, records.influences_of(look)):
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
            looks = execute([self._look(state.cell, images) for state in waiting], counts=False)
            for state, record in zip(waiting, looks, strict=True):
                state.rounds.append((images, record))
                if state.is_measured:
                    state.terms = records.influences_of(self.resolver.resolve(record.cell))
                    self.tell(f"{state.cell}: {self.rule.text(record, state.terms)}")
            waiting = [
                state
                for state in waiting
                if state.is_measured and not self.rule.is_met(state.last, state.terms)
            ]
        return self._finished(states, execute)

    def _finished(self, states: Sequence[_Sampled], execute: Execute) -> list[Record]:
        """All metrics of the cells at the N that each of them has come to."""
        wanted = [sized(state.cell, state.counts[-1]) for state in states]
        good = [cell for cell, state in zip(wanted, states, strict=True) if state.is_measured]
        measured = dict(zip(good, execute(good, counts=True), strict=True))
        outcomes = []
        for cell, state in zip(wanted, states, strict=True):
            if not state.is_measured:
                outcomes.append(replace(state.last, cell=cell))
                continue
            final = replace(measured[cell], seconds=state.seconds(measured[cell]))
            outcomes.append(self.rule.noted(final, state.last, state.terms, state.counts))
        return outcomes

    def _look(self, cell: Cell, images: int) -> Cell:
        """The cell of N images with only the deciding metric: an interim check is cheap."""
        extractor, metric = target(cell, self.rule.preferred)
        return sized(replace(cell, extractors=(extractor,), metrics=(metric,)), images)


def _most(counts: Iterable[tuple[Cell, int]]) -> dict[str, int]:
    """The largest N by checkpoint."""
    largest: dict[str, int] = {}
    for cell, images in counts:
        largest[cell.checkpoint.name] = max(images, largest.get(cell.checkpoint.name, 0))
    return largest


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
