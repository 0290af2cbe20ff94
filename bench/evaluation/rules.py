"""The contract of what ends the sampling of a cell.

`sequential.StoppingRule` ends it where a change is known precisely enough, `UntilDecided` of
`bench.verdicts` where it is known whether the cell is worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bench.core.record import Record
from bench.system.influences import Influences


class Rule(Protocol):
    """When a cell has enough images.

    A look is the record of a cell with its deciding metric alone, `terms` are the influences of
    its images, named as in a run's file.
    """

    @property
    def budget(self) -> int:
        """The most images of a cell."""

    @property
    def preferred(self) -> str:
        """The metric that decides, where a cell has it."""

    def counts(self) -> list[int]:
        """The planned N, rising, the budget last."""

    def is_met(self, look: Record, terms: Influences) -> bool:
        """Whether sampling of a cell ends with this look."""

    def text(self, look: Record, terms: Influences) -> str:
        """What a look has shown, in a line."""

    def noted(
        self, final: Record, look: Record, terms: Influences, counts: Sequence[int]
    ) -> Record:
        """The record of a cell with how it came to its N, those of all looks being `counts`."""
