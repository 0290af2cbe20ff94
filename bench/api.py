"""Runs and comparisons for a notebook: the output of the commands as pandas frames.

Examples:
    >>> import bench
    >>> bench.load("reports/<id>").frame()
    >>> bench.compare("baseline", "<id>").frame()
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.system.runs import LoadedRun
from bench.verdicts import gate
from bench.verdicts.compared import Comparison

if TYPE_CHECKING:
    import pandas

REPORTS = Path("reports")


@dataclass(frozen=True, repr=False)
class FramedRun(LoadedRun):
    """A loaded run that shows itself in one line and gives its numbers as a frame."""

    def __repr__(self) -> str:
        good = sum(record.status == "ok" for record in self.run.records)
        return f"<run {self.run.id}: {good} of {len(self.run.records)} cells ok>"

    def frame(self) -> pandas.DataFrame:
        """One row for each measurement; columns as in `bench.report.frames`."""
        from bench.report import frame

        return frame(self.run)


@dataclass(frozen=True, repr=False)
class Verdicts:
    """A decided comparison.

    Attributes:
        comparison: all rows, findings and notes.
        undecided_fails: whether a gated row without an answer fails too.
    """

    comparison: Comparison
    undecided_fails: bool = False

    def __repr__(self) -> str:
        decided, state = self.comparison, "passed" if self.passed else "failed"
        return f"<comparison {decided.base} {decided.head}: {state}, {len(decided.rows)} rows>"

    def frame(self) -> pandas.DataFrame:
        """One row for each compared number, those to look at first."""
        import pandas

        from bench.report.comparison import records

        return pandas.DataFrame(records(self.comparison))

    @property
    def passed(self) -> bool:
        """Whether `bench compare` would end with exit code 0."""
        return self.comparison.code((), self.undecided_fails) == 0


def load(name: str | Path | None = None, out: str | Path = REPORTS) -> FramedRun:
    """A run by id, folder, file or the word "baseline"; the newest of `out` where none is named.

    Raises:
        InputError: there is none, or it cannot be read.
        TypeError: `name` is neither a text nor a path.
    """
    loaded = _loaded(name, out)
    return FramedRun(loaded.run.id, loaded.run, loaded.influences)


def score(
    reference: str | Path,
    *tests: str | Path,
    real: str = "",
    extractors: Sequence[str] = (),
    metrics: Sequence[str] = (),
    out: str | Path = REPORTS,
    **stated: Any,
) -> FramedRun:
    """Pictures that were made elsewhere against those that they should equal, as `bench score`.

    Args:
        reference: folder, zip or .npz of pictures; a text may be NAME=PATH.
        tests: the same pictures as other programs made them, likewise.
        real: a data set or a file of statistics.
        extractors: names; none for the default.
        metrics: names; none for the defaults.
        out: the folder that the run is written to.
        stated: kernel and note, recorded as they are, prompts (a file), and leave_out=True to
            score what can be compared where some pictures cannot.

    Returns:
        The run that was written, as `load` gives it.

    Raises:
        InputError: bad pictures or names.
        TypeError: an argument of another type or name.
    """
    from bench.cli import score as scoring

    if unknown := set(stated) - {"kernel", "note", "leave_out", "prompts"}:
        raise TypeError(f"score takes no argument {min(unknown)}")
    texts = [str(_path("a set of pictures", given)) for given in (reference, *tests)]
    if not tests:
        raise InputError("name pictures that are held against the reference")
    named = scoring.labelled(texts[0], texts[1:], ())
    stated["may_leave_out"] = bool(stated.pop("leave_out", False))
    if "prompts" in stated:
        stated["prompts"] = str(_path("prompts", stated["prompts"]))
    asked = scoring.opened(named, real=real, extractors=extractors, metrics=metrics, **stated)
    return load(scoring.written(asked, _path("out", out)))


def compare(
    base: str | Path | LoadedRun = "baseline",
    head: str | Path | LoadedRun | None = None,
    fail_on: str | Sequence[str] = (),
    limits: str | Path | None = None,
    out: str | Path = REPORTS,
) -> Verdicts:
    """Two runs, decided; names as for `load`, or runs that were loaded; `fail_on` (a word or
    several) and `limits` as for `bench compare`.

    Raises:
        InputError: no such run, or thresholds that cannot be read.
        TypeError: an argument of another type.
    """
    words = [fail_on] if isinstance(fail_on, str) else list(fail_on)
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"fail_on takes words like 'psnr:0.5', not {_kind(word)}")
    file = None if limits is None else _path("limits", limits)
    decided = gate.compared((_loaded(base, out), _loaded(head, out)), file, words)
    return Verdicts(decided, gate.UNDECIDED in words)


def _loaded(name: str | Path | LoadedRun | None, out: str | Path) -> LoadedRun:
    if isinstance(name, LoadedRun):
        return name
    if name is not None and not isinstance(name, str | os.PathLike):
        raise TypeError(f"a run is named by an id or a path, or loaded, not {_kind(name)}")
    try:
        return gate.loaded_run(_path("out", out), None if name is None else str(name))
    except (OSError, ValueError) as error:
        what = f"no runs in {quoted(str(out))}" if name is None else f"no run {quoted(str(name))}"
        reason = getattr(error, "strerror", None) or short(str(error))
        raise InputError(f"{what}: {reason}") from None


def _path(argument: str, value: str | Path) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{argument} is a path, not {_kind(value)}")
    return Path(value)


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__}"
