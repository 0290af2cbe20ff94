"""The command line: the table of its verbs, one module for each.

Data goes to stdout, progress and remarks to stderr; the exit codes are those of `bench.cli.exits`.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from bench import __version__
from bench.cli import (
    baseline,
    certify,
    compare,
    exits,
    history,
    import_checkpoint,
    listing,
    probe,
    reference,
    report,
    run,
    score,
    site,
    speed,
    train,
)
from bench.cli.grouped_help import GroupedCommand, GroupedVerbs

# What a shell sets where it asks for completions.
COMPLETION = "_BENCH_COMPLETE"

app = typer.Typer(
    name="bench",
    help="How much image quality a diffusion checkpoint loses under quantization.",
    cls=GroupedVerbs,
    epilog="Complete names of verbs and flags by the tabulator: bench --install-completion",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command(cls=GroupedCommand, epilog=exits.HELP)(run.run)
app.command(cls=GroupedCommand, epilog=exits.HELP)(score.score)
app.command()(report.report)
app.command()(site.site)
app.command(epilog=exits.HELP_COMPARE)(compare.compare)
app.add_typer(baseline.baseline, name="baseline")
app.command()(certify.certify)
app.command()(history.history)
app.command(cls=GroupedCommand)(speed.speed)
app.command(cls=GroupedCommand)(probe.probe)
app.command()(train.train)
app.command("import")(import_checkpoint.import_checkpoint)
app.command()(reference.reference)
app.command()(reference.fetch)
app.command("list")(listing.list_all)
app.command()(listing.check)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the traceback of an error.")
    ] = False,
) -> None:
    if traceback:
        os.environ[exits.VARIABLE] = "1"
    if version:
        print(f"bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the command `bench`."""
    if COMPLETION in os.environ:
        app(prog_name="bench")
    sys.exit(exits.ended(lambda: app(standalone_mode=False)))


if __name__ == "__main__":
    main()
