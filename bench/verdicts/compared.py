"""The result of a comparison of two runs: its decided rows, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core import estimates
from bench.core.record import Measurement
from bench.verdicts.findings import Finding

# In the order of a report: first what somebody must look at.
VERDICTS = (
    "newly failing",
    "newly refused",
    "absent",
    "worse",
    "not comparable",
    "inconclusive",
    "still failing",
    "still refused",
    "better",
    "fixed",
    "new",
    "unchanged",
)
FAILING = VERDICTS[:5]
# Verdicts of numbers that were compared.
COMPARED = ("worse", "inconclusive", "better", "unchanged")
STILL = {"failed": "still failing", "refused": "still refused"}
NEWLY = {"failed": "newly failing", "refused": "newly refused"}


@dataclass(frozen=True)
class ComparedNumber:
    """A number of a cell in two runs, with the verdict on its change.

    Attributes:
        metric: name without N, "" for a row about the whole cell.
        extractor: name of the extractor whose features the metric takes, "" for none.
        change: HEAD - BASE with its error; None where it cannot be had.
        threshold: the least worsening that matters, in the metric's unit; None for none.
        gated: whether the row counts for the exit code.
        adjusted: p of no change after Holm, over the gated rows (or over those that do not gate).
        needed: the N that would decide an inconclusive row, None where unknown.
        reason: why there is no verdict, or what is special about it.
        kinds: kinds of the findings and obstacles that keep it from being compared; where all of
            them are allowed, the row does not fail.
    """

    checkpoint: str
    scheme: str
    backend: str
    verdict: str
    metric: str = ""
    extractor: str = ""
    base: Measurement | None = None
    head: Measurement | None = None
    change: estimates.Estimate | None = None
    paired: bool = False
    threshold: float | None = None
    gated: bool = True
    adjusted: float | None = None
    needed: int | None = None
    reason: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def cell(self) -> str:
        """The matched cells' name."""
        return f"{self.checkpoint} {self.scheme} {self.backend}"

    def excused(self, allowed: Sequence[str]) -> bool:
        """Whether `allowed` covers everything that keeps the row from being compared."""
        return bool(self.kinds) and {*self.kinds} <= {*allowed}


@dataclass(frozen=True)
class Comparison:
    """All decided rows, and for each finding and note the cells that have it."""

    base: str
    head: str
    rows: tuple[ComparedNumber, ...]
    findings: Mapping[Finding, tuple[str, ...]]
    notes: tuple[str, ...]
    tests: int

    def failures(self, allowed: Sequence[str] = ()) -> list[ComparedNumber]:
        """The rows that make the gate fail; `allowed` are kinds that do not."""
        return [
            row
            for row in self.rows
            if row.gated and row.verdict in FAILING and not row.excused(allowed)
        ]

    def void(self, allowed: Sequence[str] = ()) -> bool:
        """Whether no gating number was compared, so that nothing could have failed.

        Numbers that `allowed` excuses count as compared.
        """
        return not any(
            row.gated and row.metric and (row.verdict in COMPARED or row.excused(allowed))
            for row in self.rows
        )

    def blocking(self, allowed: Sequence[str] = ()) -> list[Finding]:
        """The findings that make the gate fail; `allowed` are kinds that do not."""
        return [finding for finding in self.findings if finding.kind not in allowed]

    def code(self, allowed: Sequence[str] = (), undecided: bool = False) -> int:
        """The exit code: 0 fine, 1 regression, 3 inconclusive where `undecided` asks for it."""
        if self.void(allowed) or self.failures(allowed) or self.blocking(allowed):
            return 1
        open_rows = any(row.gated and row.verdict == "inconclusive" for row in self.rows)
        return 3 if undecided and open_rows else 0
