"""Runs and comparisons for a notebook: what the commands say, as pandas frames.

import bench
bench.load("reports/<id>").frame()
bench.compare("baseline", "<id>").frame()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import gate
from bench.comparison import Comparison, Side
from bench.influences import Influences
from bench.record import Run

if TYPE_CHECKING:
    import pandas

REPORTS = Path("reports")


@dataclass(frozen=True)
class LoadedRun:
    """A run as it was read; `run` has everything, `influences` what each image adds to a number
    (`bench.influences`), by which numbers of one draw are paired."""

    run: Run
    influences: Influences

    def frame(self) -> pandas.DataFrame:
        """One row for each measurement; columns as in `bench.report.frames`."""
        from bench.report import frame

        return frame(self.run)


@dataclass(frozen=True)
class Verdicts:
    """A decided comparison; `comparison` has everything."""

    comparison: Comparison

    def frame(self) -> pandas.DataFrame:
        """One row for each compared number, those to look at first."""
        import pandas

        from bench.report.verdicts import records

        return pandas.DataFrame(records(self.comparison))

    @property
    def passed(self) -> bool:
        """Whether `bench compare` would end with exit code 0."""
        return self.comparison.code() == 0


def load(name: str | Path | None = None, out: Path = REPORTS) -> LoadedRun:
    """A run by id, folder, file or the word "baseline"; the newest of `out` where none is named.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    side = _side(name, out)
    return LoadedRun(side.run, side.influences)


def compare(
    base: str | Path = "baseline",
    head: str | Path | None = None,
    fail_on: Sequence[str] = (),
    limits: Path | None = None,
    out: Path = REPORTS,
) -> Verdicts:
    """Two runs, decided; names as for `load`, `fail_on` and `limits` as for `bench compare`.

    Raises:
        InputError: no such run, or thresholds that cannot be read.
    """
    return Verdicts(gate.compared((_side(base, out), _side(head, out)), limits, fail_on))


def _side(name: str | Path | None, out: Path) -> Side:
    return gate.side(Path(out), None if name is None else str(name))
