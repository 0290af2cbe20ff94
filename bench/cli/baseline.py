"""`bench baseline`: the pinned run that others are compared with, and why it is the one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Out
from bench.core.printable import say
from bench.verdicts import baseline as pins

baseline = typer.Typer(help="The pinned run that others are compared with.", no_args_is_help=True)


@baseline.command()
def accept(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run in the folder.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it moves.")],
    out: Out = Path("reports"),
) -> None:
    """Move the baseline to a run; the reason is kept."""
    pin = pins.accept(out, run, reason)
    say(f"baseline is now {pin.run}: {pin.reason}")


@baseline.command()
def show(out: Out = Path("reports")) -> None:
    """Print all baselines with their reasons; the last one holds."""
    for pin in pins.pins(out):
        say(f"{pin.accepted}  {pin.run}  {pin.reason}")
    pins.pinned(out)
