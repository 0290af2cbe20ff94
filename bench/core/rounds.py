"""How a quantized cell that was sampled in rounds came to its N: by precision, or by a verdict.

Both stand in its record: `rounds` where a width was asked for, `decided` where an answer was.
"""

from __future__ import annotations

from dataclasses import dataclass

VERDICTS = ("worse", "equivalent", "better", "undecided")


@dataclass(frozen=True)
class Rounds:
    """How a cell was sampled until its change was known well enough.

    Attributes:
        metric: the change that was looked at, without its N.
        precision: the widest half width of its 95% interval that was wanted, in its unit.
        reached: whether it became as narrow; else the budget of images ended.
        counts: N at each look.
    """

    metric: str
    precision: float
    reached: bool
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Decided:
    """How a cell was sampled until it was known whether it is worse.

    Attributes:
        metric: the change that was looked at, without its N.
        verdict: one of VERDICTS; undecided where the budget of images ended first.
        margin: the least worsening that matters, in the metric's unit, as of the last look.
        level: of the confidence sequence: the chance, at least, that no verdict at any look of
            the cell is false.
        worsening: of the metric, positive where it became worse, at the last look.
        low, high: ends of its sequence there; None where no error is known.
        counts: N at each look.
        tuned: the N that the sequence is tuned for.
        base: id of the run that it was held against, "" for full precision.
        paired: whether it was held against that image by image.
    """

    metric: str
    verdict: str
    margin: float
    level: float
    worsening: float
    low: float | None
    high: float | None
    counts: tuple[int, ...]
    tuned: int
    base: str = ""
    paired: bool = True
