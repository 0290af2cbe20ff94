"""What a run says in one look: whether each scheme harms, by how much, how far images moved.

*Harmed*: the change of the distance to real images lies beyond its own 95% interval and beyond
what the noise floor does. *Not harmed*: the interval ends below the least loss that matters, which
is the gate's (bench/verdicts/thresholds.toml). Between the two it is *not decided*: more images
would tell. The page, the Markdown report and the terminal say the same words.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.distances import frechet_title, kernel_title
from bench.core.record import Measurement
from bench.report import elsewhere, floors
from bench.report.formatting import NONE, decimal_places, measured, number
from bench.report.ranking import Group, groups
from bench.report.rows import CellRow, interval, labels
from bench.system.influences import Influences
from bench.verdicts import thresholds
from bench.verdicts.floors import Ratio, title

HARMED, OPEN, FINE, BETTER, UNKNOWN = (
    "harmed",
    "not decided",
    "not harmed",
    "improved",
    "not measured",
)
# Marks that tell the words apart without colour.
MARKS = {HARMED: "▲", OPEN: "◆", FINE: "●", BETTER: "▼", UNKNOWN: "○"}


@dataclass(frozen=True)
class Judged:
    """A measured quantized row with its verdict.

    Attributes:
        name: what the report calls it.
        word: one of the five words.
        change: of the distance to real images; None where none was measured.
        ratio: how many times as far as the noise floor its images moved, None without a floor.
    """

    row: CellRow
    name: str
    word: str
    change: Measurement | None
    ratio: Ratio | None

    @property
    def share(self) -> float | None:
        """The change as a share of the distance in full precision; None where that is near 0."""
        if self.change is None or (full := _full(self.row, self.change)) is None:
            return None
        ends = interval(full)
        is_clear = full.value > 0 and (ends is None or ends[0] > 0.5 * full.value)
        return self.change.value / full.value if is_clear else None


@dataclass(frozen=True)
class Verdict:
    """The verdict on one scheme and kernel.

    Attributes:
        name: scheme, and what else tells it from the other verdicts of the run.
        metric: title of the distance whose change is the harm, "" where none was measured.
        noun: what was judged, in the plural.
        judged: from the least to the largest change.
    """

    group: Group
    name: str
    metric: str
    noun: str
    judged: tuple[Judged, ...]

    @property
    def word(self) -> str:
        """The gravest word of its rows."""
        words = {judged.word for judged in self.judged}
        order = (HARMED, OPEN, FINE, BETTER, UNKNOWN)
        return next(word for word in order if word in words)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each word, the gravest first."""
        words = [judged.word for judged in self.judged]
        return {word: words.count(word) for word in MARKS if word in words}

    @property
    def has_floor(self) -> bool:
        """Whether a noise floor was measured beside it."""
        return any(judged.row.floors for judged in self.judged)

    @property
    def changes(self) -> list[Measurement]:
        """The changes that are known, in order."""
        return [judged.change for judged in self.judged if judged.change]

    @property
    def digits(self) -> int:
        """Decimals of its changes."""
        return decimal_places(self.changes)

    def count(self) -> str:
        """Whom it harms, as "19 of 19 checkpoints harmed"; a single row is named."""
        if len(self.judged) == 1:
            return f"{self.judged[0].name}: {self.word}"
        total = len(self.judged)
        parts = [f"{count} {word}" for word, count in self.counts.items()]
        if len(parts) == 1:
            return f"all {total} {self.noun} {self.word}"
        first, *others = parts
        lead = first.replace(" ", f" of {total} {self.noun} ", 1)
        return ", ".join([lead, *others])

    def amount(self, is_short: bool = False) -> str:
        """By how much, with the interval of a single one or the span of several; in a short one
        shares of full precision are left out."""
        if not self.changes:
            return "whether it harms was not measured"
        if len(self.changes) == 1:
            text = f"{self.metric} {measured(self.changes[0], self.digits, signed=True)}"
            share = self.judged[0].share
            return (
                text
                if share is None or is_short
                else f"{text}, {_percent(share)} of full precision"
            )
        values = sorted(change.value for change in self.changes)
        low, middle, high = (
            number(value, self.digits, signed=True)
            for value in (values[0], statistics.median(values), values[-1])
        )
        text = f"{self.metric} {low} to {high}, median {middle}"
        shares = sorted(s for judged in self.judged if (s := judged.share) is not None)
        if len(shares) == len(self.judged) and not is_short:
            text += f" ({_percent(shares[0])} to {_percent(shares[-1])} of full precision)"
        return text

    def lost(self, judged: Judged) -> str:
        """The change of one row with its interval, and what it began at."""
        if judged.change is None:
            return "not measured"
        told = f"{self.metric} {measured(judged.change, self.digits, signed=True)}"
        full = _full(judged.row, judged.change)
        return told if full is None else f"{told}, from {number(full.value, self.digits)}"

    def ends(self) -> str:
        """Who is harmed least and most; "" for a single row."""
        known = [judged for judged in self.judged if judged.change]
        if len(known) < 2:
            return ""
        told = [f"{judged.name} ({change_of(judged, self.digits)})" for judged in known]
        return f"least: {told[0]}; most: {told[-1]}"

    def moved(self) -> str:
        """How far the images moved: in units of the noise floor, else by PSNR."""
        known = [judged for judged in self.judged if judged.ratio]
        if known:
            floor = floors.unit(known[0].row)
            name = title(floor.record) if floor else "the floor"
            ratios = sorted((j.ratio for j in known if j.ratio), key=lambda r: r.value)
            if math.isinf(ratios[-1].value):
                return f"images moved; {name} did not move them at all"
            far = floors.times(ratios[0])
            if len(ratios) > 1:
                far = " to ".join(
                    floors.times(r).partition(" ")[0] for r in (ratios[0], ratios[-1])
                )
            return f"images moved {far} times as far as {name} moves them"
        values = [j.row.psnr for j in self.judged if j.row.psnr]
        values = sorted((m for m in values if math.isfinite(m.value)), key=lambda m: m.value)
        if not values:
            return "how far images moved was not measured"
        digits = decimal_places(values)
        far = number(values[0].value, digits)
        if len(values) > 1:
            far = f"{far} to {number(values[-1].value, digits)}"
        return f"images moved to PSNR {far} dB"

    def sentence(self) -> str:
        """The verdict in a sentence."""
        return f"{self.name}: {self.count()}; {self.amount()}; {self.moved()}."


def verdicts(all_rows: Sequence[CellRow], influences: Influences) -> list[Verdict]:
    """A verdict for each scheme and kernel (and family and N, where these differ)."""
    ranked = groups(all_rows, influences)
    known, names = thresholds.load(), labels(all_rows)
    noun = elsewhere.worded(all_rows, "checkpoints", "sets of images")
    made = []
    for group, words in zip(ranked, titles(ranked), strict=True):
        used = [group.rows[0].extractor]
        metric = ""
        if group.harm:
            is_kernel = group.metric == "kd_change"
            metric = kernel_title(used) if is_kernel else frechet_title(used)
        judged = [
            _judged(row, names[row.checkpoint], group, known, influences) for row in group.rows
        ]
        judged.sort(key=lambda j: math.inf if j.change is None else j.change.value)
        name = f"{words[0]} ({', '.join(words[1:])})" if words[1:] else words[0]
        made.append(Verdict(group, name, metric, noun, tuple(judged)))
    return made


def titles(ranked: Sequence[Group]) -> list[list[str]]:
    """What tells each group from the others: the scheme, then kernel, family and N."""
    kernels = len({group.kernel for group in ranked}) > 1
    several = len({group.family for group in ranked}) > 1
    sizes = len({row.images for group in ranked for row in group.rows}) > 1
    named = []
    for group in ranked:
        kernel = group.kernel
        kernel = kernel if kernel in ("none", "simulated") else f"{kernel} kernels"
        words = [group.scheme.label, *([kernel] if kernels else [])]
        words += [f"family {group.family}"] if several else []
        words += [f"N = {group.rows[0].images}"] if sizes else []
        named.append(words)
    return named


def change_of(judged: Judged, digits: int) -> str:
    """The change of a row without its interval."""
    return NONE if judged.change is None else number(judged.change.value, digits, signed=True)


def _judged(
    row: CellRow,
    name: str,
    group: Group,
    known: Sequence[thresholds.Threshold],
    influences: Influences,
) -> Judged:
    change = getattr(row, group.metric) if group.harm else None
    change = change if change and math.isfinite(change.value) else None
    pair = floors.leading(row, influences)
    return Judged(row, name, _word(row, change, group, known), change, pair[1] if pair else None)


def _word(
    row: CellRow,
    change: Measurement | None,
    group: Group,
    known: Sequence[thresholds.Threshold],
) -> str:
    if change is None:
        return UNKNOWN
    floor = floors.unit(row)
    accepted = getattr(floor, group.metric) if floor else None
    if floors.is_beyond(change, accepted):
        return HARMED
    if (ends := interval(change)) is None:
        return OPEN
    high = ends[1] if change.better == "lower" else -ends[0]
    if high < 0:
        return BETTER
    return FINE if high <= margin(row, change, known) else OPEN


def margin(row: CellRow, change: Measurement, known: Sequence[thresholds.Threshold]) -> float:
    """The least loss that matters, in the unit of a change; 0 where it is not known."""
    stem = change.name.split("@")[0]
    entry = thresholds.find(known, stem, row.checkpoint, str(row.scheme))
    full = _full(row, change)
    return entry.size(full.value if full else math.nan) if entry else 0.0


def _full(row: CellRow, change: Measurement) -> Measurement | None:
    """The distance in full precision that a change is to be held against."""
    if row.reference is None:
        return None
    return row.reference.record.measurement(change.name.split("@")[0].removeprefix("delta_"))


def _percent(share: float) -> str:
    return f"{share:+.0%}"
