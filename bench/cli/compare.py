"""`bench compare`: what became worse from one run to another; the exit code is the answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Limits, Out
from bench.core.errors import InputError, offer
from bench.core.printable import quoted
from bench.system import chronology
from bench.system.runs import LoadedRun, run_folders
from bench.verdicts import gate
from bench.verdicts.findings import KINDS


def compare(
    base: Annotated[
        str, typer.Argument(metavar="[BASE]", help="Id, folder, run.json, or the word baseline.")
    ] = "baseline",
    head: Annotated[
        str | None, typer.Argument(metavar="[HEAD]", help="Likewise [default: the last run].")
    ] = None,
    thresholds: Limits = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="WORD",
            help="METRIC, METRIC:0.5 or METRIC:5%: only these gate; inconclusive (repeatable).",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="KIND",
            help="A finding, or what cannot be compared, that does not fail (repeatable).",
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="markdown, csv, json or junit.")
    ] = "markdown",
    out: Out = Path("reports"),
) -> int:
    """Decide what became worse from BASE to HEAD; exit code 1 on a regression.

    Example: bench compare baseline --fail-on psnr:0.5 --fail-on inconclusive
    """
    runs = gate.loaded_run(out, base), gate.loaded_run(out, head)
    code = decide(runs, thresholds, fail_on or (), allow or (), format)
    if head is None:
        _tell_newest(out, runs[1])
    return code


def _tell_newest(out: Path, head: LoadedRun) -> None:
    """Say on stderr which run was taken as the newest one, and what is doubtful about that."""
    print(f"HEAD is the newest run, {head.label}, made {head.run.created}", file=sys.stderr)
    for line in chronology.doubts(run_folders(out)):
        print(line, file=sys.stderr)


def decide(
    runs: tuple[LoadedRun, LoadedRun],
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
        form: name in `bench.report.comparison.FORMATS`.

    Raises:
        InputError: an unknown word, kind, format or a bad file.
    """
    from bench.report.comparison import FORMATS

    for kind in allow:
        if kind not in KINDS:
            raise InputError(f"--allow {quoted(kind)}: choose {', '.join(KINDS)}")
    if form not in FORMATS:
        raise InputError(f"unknown format {quoted(form)}: {offer(form[:100], FORMATS)}")
    comparison = gate.compared(runs, limits, fail_on)
    code = comparison.code(allow, gate.UNDECIDED in fail_on)
    print(FORMATS[form](comparison, allow, code), end="")
    return code
