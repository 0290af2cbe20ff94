"""`bench history`: the course of each number over the last runs, and whether one drifts."""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import exits
from bench.cli.flags import Limits, Out
from bench.core.errors import InputError
from bench.core.printable import quoted, say
from bench.system import chronology, store
from bench.system.runs import read_run, run_folders
from bench.verdicts import thresholds as limits_of
from bench.verdicts.history import histories, repeated


def history(
    last: Annotated[int, typer.Option("--last", metavar="K", help="Runs to look at.")] = 10,
    metric: Annotated[
        str, typer.Option("--metric", metavar="GLOB", help="Metrics to look at.")
    ] = "*",
    thresholds: Limits = None,
    out: Out = Path("reports"),
) -> int:
    """Show the course of each number and draw it; exit code 1 where one drifts to the worse."""
    return trend(out, last, metric, thresholds)


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
    for copy in repeated(runs):
        runs.remove(copy)
        say(f"{copy.id} is not counted: all its cells came from the cache", file=sys.stderr)
    trends = [
        series
        for series in histories(runs, last, limits_of.load(limits))
        if fnmatch.fnmatchcase(series.metric, metric)
    ]
    if not trends:
        raise InputError(f"no number matches --metric {quoted(metric)} in {runs[-1].id}")
    store.check_writable(out)
    print(table_of(runs[-last:], trends), end="")
    for line in chronology.doubts(folders):
        print(line, file=sys.stderr)
    for path in draw(trends, out / FOLDER):
        print(path, file=sys.stderr)
    return exits.REGRESSION if any(series.failing for series in trends) else exits.FINE
