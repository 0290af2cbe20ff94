"""Sampling until it is known whether a cell is worse: the rule of `bench run --until-decided`.

After each round the change of the deciding metric is held against full precision, or against the
same cell of another run, by a confidence sequence (`confidence_sequences`), which holds however
often one looks. The cell stops as soon as worse, equivalent or better is shown, or where the
budget ends; against another run of the same noise, also where that has no more images to pair.

Against a run of other noise nothing pairs up: half of the error goes to the sequence of the cell,
half to the interval of the other run, whose N is given.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

import numpy as np

from bench.core import estimates
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.printable import short
from bench.core.record import Record
from bench.core.rounds import Decided
from bench.system.influences import Influences, key
from bench.system.runs import LoadedRun
from bench.verdicts import confidence_sequences, margins, matching, thresholds
from bench.verdicts.confidence_sequences import EQUIVALENT, UNDECIDED, Sequence
from bench.verdicts.findings import INCOMPARABLE, NOISE, PROTOCOL, findings
from bench.verdicts.margins import Worsening
from bench.verdicts.thresholds import Threshold

# N grows by at least this factor from look to look.
GROWTH = 1.25
USUAL = Sequence()


@dataclass(frozen=True)
class UntilDecided:
    """When a cell has enough images.

    Attributes:
        budget: the most images of a cell.
        batch: images of a forward pass; looks are at whole batches.
        margin: that was asked for; None takes the shipped threshold of the metric.
        base: the run that cells are held against, None for full precision.
        sequence: that decides.
        preferred: the metric that decides, where a cell has it.
    """

    budget: int
    batch: int
    margin: Threshold | None = None
    base: LoadedRun | None = None
    sequence: Sequence = USUAL
    preferred: str = "kernel"

    def __post_init__(self) -> None:
        if self.budget < self.sequence.first:
            raise InputError(
                f"--until-decided starts with {self.sequence.first} images: raise --images "
                f"{self.budget}, the most that a cell may take"
            )

    def counts(self) -> list[int]:
        """The planned N of the looks, rising, the budget last; with every N at which BASE ends."""
        planned = {self.budget, *self._ends()}
        images: float = self.sequence.first
        while images < self.budget:
            whole = -(-int(images) // self.batch) * self.batch
            planned.add(min(whole, self.budget))
            images = max(whole * GROWTH, whole + 1)
        return sorted(planned)

    def _ends(self) -> set[int]:
        """N of the cells of BASE that can be looked at."""
        ends = {record.cell.draw.images for record in self.base.run.records} if self.base else ()
        return {n for n in ends if self.sequence.first <= n < self.budget}

    def is_met(self, look: Record, terms: Influences) -> bool:
        """Whether sampling of a cell ends with this look."""
        decided = self.decided(look, terms, (look.cell.draw.images,))
        if decided.verdict != UNDECIDED:
            return True
        base = self._base(look.cell)
        is_last = base is not None and look.cell.draw.images >= base.cell.draw.images
        return decided.paired and is_last

    def text(self, look: Record, terms: Influences) -> str:
        """What a look has shown, in a line."""
        n = look.cell.draw.images
        outcome = self.decided(look, terms, (n,))
        ends = "no interval yet"
        if outcome.low is not None and outcome.high is not None:
            ends = f"{outcome.low:+.3g} to {outcome.high:+.3g} at every look"
        return (
            f"N = {n}: {outcome.metric} worse by {outcome.worsening:+.3g}, {ends}, margin "
            f"{outcome.margin:.3g}: {outcome.verdict}"
        )

    def noted(self, final: Record, look: Record, terms: Influences, counts: Items[int]) -> Record:
        """The record of a cell with what was decided of it."""
        return replace(final, decided=self.decided(look, terms, counts))

    def decided(self, look: Record, terms: Influences, counts: Items[int]) -> Decided:
        """The verdict at a look.

        Args:
            look: the cell's record with its deciding metric.
            terms: the influences of its images, named as in a run's file.
            counts: N of all looks so far.

        Raises:
            InputError: no threshold is known, or BASE cannot be compared with the cell.
        """
        metric = next(iter(margins.changes(look)))
        base, other = self._base(look.cell), None
        if not _is_defined(look, terms):
            sequence, name = self.sequence, self.base.run.id if self.base else ""
            ends = (math.nan, None, None, tuple(counts), sequence.tuned, name)
            return Decided(metric, UNDECIDED, 0.0, sequence.level, *ends)
        if base is None:
            worsening = margins.of_cell(look, terms, metric, self._entry(look, metric))
        else:
            worsening, other = self._against(look, terms, base, metric)
        above, below = (self._interval(*w, other) for w in (worsening.above, worsening.below))
        verdict = confidence_sequences.decide(above, below)
        low, high = self._interval(worsening.value, worsening.terms, other) or (None, None)
        return Decided(
            metric,
            EQUIVALENT if worsening.is_nothing and other is None else verdict,
            worsening.margin,
            self.sequence.level,
            worsening.value,
            low,
            high,
            tuple(counts),
            self.sequence.tuned,
            self.base.run.id if self.base else "",
            other is None,
        )

    def _interval(
        self, value: float, terms: np.ndarray, other: estimates.Estimate | None
    ) -> tuple[float, float] | None:
        """The sequence at a look, and with the error of a number of other images where given."""
        if other is None:
            return self.sequence.interval(value, terms)
        half = (1 + self.sequence.level) / 2
        ends = replace(self.sequence, level=half).interval(value, terms)
        if ends is None:
            return None
        reach = other.interval(half)[1] - other.value
        return ends[0] - reach, ends[1] + reach

    def _entry(self, look: Record, metric: str) -> Threshold:
        cell = look.cell
        if self.margin is not None:
            return self.margin
        names = metric, cell.checkpoint.name, str(cell.scheme)
        entry = thresholds.find(thresholds.load(), *names)
        if entry is None:
            raise InputError(f"no threshold of {metric} is shipped: give one by --margin SIZE")
        return entry

    def _base(self, cell: Cell) -> Record | None:
        """The cell of BASE of the same name."""
        return _same(self.base, cell) if self.base else None

    def _against(
        self, look: Record, terms: Influences, base: Record, metric: str
    ) -> tuple[Worsening, estimates.Estimate | None]:
        """The worsening from BASE, and the error of that number where the images do not pair."""
        assert self.base is not None
        # A look takes one metric alone, and what BASE says of others does not matter.
        alike = replace(
            base,
            cell=replace(base.cell, draw=replace(base.cell.draw, images=look.cell.draw.images)),
            real={name: base.real.get(name, "") for name in look.real},
            host=replace(
                base.host,
                versions={k: v for k, v in base.host.versions.items() if k in look.host.versions},
            ),
        )
        kinds = (*INCOMPARABLE, "extractor")
        for finding in findings(alike, look):
            if finding.kind in kinds:
                raise InputError(f"{look.cell} does not compare with BASE: {finding.text}")
        old, new = margins.changes(base).get(metric), margins.changes(look)[metric]
        if old is None:
            raise InputError(f"{look.cell}: {metric} was not measured in BASE")
        if obstacle := matching.obstacle(replace(old, n=new.n), new):
            raise InputError(f"{look.cell} does not compare with BASE: {obstacle.reason}")
        entry = Threshold(absolute=margins.given(base, metric, self._entry(look, metric)))
        own = margins.of_cell(look, terms, metric, entry)
        if _same_noise(base.cell, look.cell):
            return margins.against(own, (base, self.base.influences)), None
        other = estimates.from_interval(old.value, old.low, old.high, old.n)
        if other is None:
            raise InputError(f"{look.cell}: {metric} has no interval in BASE")
        sign = 1.0 if old.better == "lower" else -1.0
        return replace(own, value=own.value - sign * old.value), other


def _is_defined(look: Record, terms: Influences) -> bool:
    """Whether all numbers of a look are finite, and so the influences of its images."""
    numbers = look.measurements
    return all(matching.defined(m.value) and key(look.cell, m.name) in terms for m in numbers)


def _same(base: LoadedRun, cell: Cell) -> Record:
    for record in base.run.records:
        if str(record.cell) == str(cell) and record.status == "ok":
            return record
    raise InputError(
        f"{short(base.label)} has not measured {cell}: leave the cell out, or --against it"
    )


def _same_noise(base: Cell, cell: Cell) -> bool:
    """Whether image i of both comes from the same numbers in the same way, whatever their N."""
    names = [name for name in NOISE if name != "images"]
    return all(getattr(base.draw, name) == getattr(cell.draw, name) for name in names)


def _check_base(base: Cell, cell: Cell, first: int) -> None:
    """Refuse a cell of BASE that cannot be held against before anything is sampled."""
    for name in PROTOCOL:
        was, now = getattr(base.draw, name), getattr(cell.draw, name)
        if name != "images" and was != now:
            raise InputError(f"{cell} does not compare with BASE: {name} {was} → {now}")
    if base.draw.images < first and _same_noise(base, cell):
        raise InputError(
            f"{cell} has {base.draw.images} images in BASE, and --until-decided starts with "
            f"{first}: name another --against"
        )


def rule(
    cells: Items[Cell], margin: str | None = None, base: LoadedRun | None = None
) -> UntilDecided:
    """The rule of a run whose cells have the budget as their N, told on stderr.

    Raises:
        InputError: bad sizes, nothing is quantized, or BASE lacks a cell or its images.
    """
    draw = cells[0].draw
    entry = None if margin is None else margins.margin(margin)
    sequence = Sequence(first=confidence_sequences.FIRST)
    made = UntilDecided(draw.images, draw.batch, entry, base, sequence)
    quantized = [cell for cell in cells if not cell.is_reference]
    if not quantized:
        raise InputError("--until-decided asks what quantization changes: name another --scheme")
    for cell in quantized:
        if base:
            _check_base(_same(base, cell).cell, cell, sequence.first)
    what = base.label if base else "full precision"
    counts = ", ".join(map(str, made.counts()))
    print(
        f"N = {counts}: until it is known at {made.sequence.level:.0%} whether each cell is worse "
        f"than {what}",
        file=sys.stderr,
    )
    return made
