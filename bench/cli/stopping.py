"""What ends the sampling of a run's cells: their N, `--precision`, or `--until-decided`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.evaluation import sequential
from bench.evaluation.rules import Rule
from bench.verdicts import gate, margins, until_decided


@dataclass(frozen=True)
class Asked:
    """The flags: a wanted half width or None, whether a verdict is wanted, against which run (None
    for full precision), by which margin (None for the shipped threshold)."""

    precision: float | None = None
    is_verdict: bool = False
    against: str | None = None
    margin: str | None = None

    @property
    def is_sequential(self) -> bool:
        """Whether cells are sampled in rounds."""
        return self.is_verdict or self.precision is not None


def asked(
    precision: float | None, is_verdict: bool, against: str | None, margin: str | None
) -> Asked:
    """The flags, held against each other.

    Raises:
        InputError: two rules, a flag without its rule, or a margin that is none.
    """
    if is_verdict and precision is not None:
        raise InputError("--until-decided or --precision: choose one")
    for flag, value in (("--against", against), ("--margin", margin)):
        if value is not None and not is_verdict:
            raise InputError(f"{flag} belongs to --until-decided: add that")
    if margin is not None:
        margins.margin(margin)
    return Asked(precision, is_verdict, against, margin)


def rule(wanted: Asked, cells: Sequence[Cell], out: Path) -> Rule | None:
    """The rule of a run whose cells have the budget as their N, told on stderr; None for none.

    Raises:
        InputError: as for `sequential.stopping_rule` and `until_decided.rule`, or no such run.
    """
    if not wanted.is_verdict:
        return sequential.stopping_rule(wanted.precision, cells)
    base = gate.side(out, wanted.against) if wanted.against is not None else None
    made = until_decided.rule(cells, wanted.margin, base)
    for cell in cells:
        sequential.target(cell, made.preferred)
    return made
