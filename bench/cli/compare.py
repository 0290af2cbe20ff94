"""The commands that judge runs: `compare`, `baseline` and `history`, from flags to the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import exits, gate
from bench.cli.flags import Limits, Out


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
            "--allow", metavar="KIND", help="Findings that do not fail: weights ... (repeatable)."
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
    sides = gate.side(out, base), gate.side(out, head)
    code = gate.decide(sides, thresholds, fail_on or (), allow or (), format)
    if head is None:
        gate.tell_newest(out, sides[1])
    return code


baseline = typer.Typer(help="The pinned run that others are compared with.", no_args_is_help=True)


@baseline.command()
def accept(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run in the folder.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it moves.")],
    out: Out = Path("reports"),
) -> None:
    """Move the baseline to a run; the reason is kept."""
    gate.accept(out, run, reason)


@baseline.command()
def show(out: Out = Path("reports")) -> None:
    """Print all baselines with their reasons; the last one holds."""
    gate.show(out)


def history(
    last: Annotated[int, typer.Option("--last", metavar="K", help="Runs to look at.")] = 10,
    metric: Annotated[
        str, typer.Option("--metric", metavar="GLOB", help="Metrics to look at.")
    ] = "*",
    thresholds: Limits = None,
    out: Out = Path("reports"),
) -> int:
    """Show the course of each number and draw it; exit code 1 where one drifts to the worse."""
    return gate.trend(out, last, metric, thresholds)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=exits.HELP_COMPARE)(compare)
    app.add_typer(baseline, name="baseline")
    app.command()(history)
