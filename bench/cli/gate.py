"""What `bench compare`, `bench baseline` and `bench history` do, between the flags and the layers
below. None of them imports torch. Data goes to stdout; the exit code is the answer.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.core import border
from bench.core.errors import InputError
from bench.core.printable import quoted, say
from bench.system import chronology, influences, store
from bench.system.runs import find_run, read_run, run_folders
from bench.verdicts import baseline, thresholds
from bench.verdicts.compared import Comparison, Side
from bench.verdicts.comparison import compare
from bench.verdicts.findings import KINDS
from bench.verdicts.history import histories

UNDECIDED = "inconclusive"


def side(out: Path, name: str | None) -> Side:
    """A run by id, folder, file or the word `baseline`; the newest where `name` is None.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if name == "baseline":
        path = baseline.pinned(out) / "run.json"
        label = f"baseline {path.parent.name}"
    elif name is not None and border.is_file(Path(name)):
        path, label = Path(name), name
    else:
        path = find_run(out, name) / "run.json"
        label = path.parent.name
    terms = influences.load(path.parent / influences.NAME) if path.name == "run.json" else {}
    return Side(label, read_run(path), terms)


def tell_newest(out: Path, head: Side) -> None:
    """Say on stderr which run was taken as the newest one, and what is doubtful about that."""
    print(f"HEAD is the newest run, {head.name}, made {head.run.created}", file=sys.stderr)
    for line in chronology.doubts(run_folders(out)):
        print(line, file=sys.stderr)


def compared(sides: tuple[Side, Side], limits: Path | None, fail_on: Sequence[str]) -> Comparison:
    """The comparison of (BASE, HEAD).

    Args:
        limits: a file of thresholds.
        fail_on: metrics that gate, and `inconclusive`.

    Raises:
        InputError: a bad file or word, or a word for a metric that neither run has.
    """
    words = [word for word in fail_on if word != UNDECIDED]
    found = compare(*sides, thresholds.load(limits, words))
    names = list(dict.fromkeys(row.metric for row in found.rows if row.metric))
    for word in words:
        if not any(thresholds.names(word, name) for name in names):
            raise InputError(
                f"--fail-on {word}: neither run has such a number to compare; they have "
                f"{', '.join(names) or 'none'}"
            )
    return found


def decide(
    sides: tuple[Side, Side],
    limits: Path | None,
    fail_on: Sequence[str],
    allow: Sequence[str],
    form: str,
) -> int:
    """Print the comparison of (BASE, HEAD) and return the exit code.

    Args:
        limits: a file of thresholds.
        fail_on: metrics that gate, and `inconclusive`.
        allow: kinds of findings that do not fail.
        form: name in `report.verdicts.FORMATS`.

    Raises:
        InputError: an unknown word, kind, format or a bad file.
    """
    from bench.report.comparison import FORMATS

    for kind in allow:
        if kind not in KINDS:
            raise InputError(f"--allow {quoted(kind)}: choose {', '.join(KINDS)}")
    if form not in FORMATS:
        raise InputError(f"unknown format {quoted(form)}: choose {', '.join(FORMATS)}")
    found = compared(sides, limits, fail_on)
    code = found.code(allow, UNDECIDED in fail_on)
    print(FORMATS[form](found, allow, code), end="")
    return code


def accept(out: Path, name: str, reason: str) -> None:
    """Move the pinned baseline."""
    pin = baseline.accept(out, name, reason)
    say(f"baseline is now {pin.run}: {pin.reason}")


def show(out: Path) -> None:
    """Print all accepted baselines, the one that holds last."""
    for pin in baseline.pins(out):
        say(f"{pin.accepted}  {pin.run}  {pin.reason}")
    baseline.pinned(out)


def trend(out: Path, last: int, metric: str, limits: Path | None) -> int:
    """Print the course of each number, draw it, and return 1 where a gated one drifts
    or can no longer be judged."""
    from bench.report.figures.history import draw
    from bench.report.history import FOLDER, table_of

    if last < 2:
        raise InputError(f"--last must be at least 2, not {last}")
    folders = run_folders(out)
    if not folders:
        raise InputError(f"no runs in {out}: run `bench run` first, or name --out DIR")
    runs = [read_run(folder) for folder in folders]
    found = [
        series
        for series in histories(runs, last, thresholds.load(limits))
        if fnmatch.fnmatchcase(series.metric, metric)
    ]
    if not found:
        raise InputError(f"no number matches --metric {quoted(metric)} in {runs[-1].id}")
    store.check_writable(out)
    print(table_of(runs[-last:], found), end="")
    for line in chronology.doubts(folders):
        print(line, file=sys.stderr)
    for path in draw(found, out / FOLDER):
        print(path, file=sys.stderr)
    return int(any(series.failing for series in found))
