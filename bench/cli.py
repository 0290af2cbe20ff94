"""The command line: flags to cells, results to stdout, progress to stderr, exit codes.

0 fine, 1 regression, 2 bad usage or input (one line that says what to do), 3 inconclusive where
that was asked for, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench import (
    __version__,
    cli_data,
    commands,
    devices,
    explaining,
    judging,
    measuring,
    planning,
    rounds,
    skips,
    suite,
)
from bench.cli_data import name_inception, settings
from bench.errors import InputError
from bench.flags import (
    Backends,
    Batch,
    Bits,
    Cards,
    Compiled,
    Device,
    DryRun,
    Extractors,
    Force,
    Images,
    Inception,
    Kernels,
    Metrics,
    Names,
    Out,
    Precision,
    Probes,
    Real,
    Sampler,
    Seed,
    Sets,
    Skip,
    Steps,
    SuiteName,
    Words,
)
from bench.spec import Draw

app = typer.Typer(
    name="bench",
    help="How much image quality a diffusion checkpoint loses under quantization.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    bits: Bits = None,
    scheme: Words = None,
    backend: Backends = None,
    compiled: Kernels = None,
    device: Device = devices.CPU,
    checkpoints: Names = None,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="smoke, default or full.")
    ] = "default",
    skip: Skip = None,
    images: Images = None,
    precision: Precision = None,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    batch: Batch = 50,
    suite_name: SuiteName = None,
    extractors: Extractors = None,
    metrics: Metrics = None,
    real: Real = "test",
    inception: Inception = None,
    probes: Probes = None,
    cards: Cards = None,
    out: Out = Path("reports"),
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Quantize, sample and measure; write a versioned report.

    Example: bench run --bits 4
    """
    name_inception(inception)
    place = devices.find(device)
    wanted, globs = planning.schemes(bits, scheme or ()), _words(checkpoints)
    given = {"sampler": sampler, "steps": steps, "images": images, "seed": seed, "batch": batch}
    changes = {field: value for field, value in given.items() if value is not None}
    executed = planning.backends(backend or (), wanted, place)
    kinds = planning.Kinds(wanted, executed, compiled=compiled)
    if suite_name is not None:
        if extractors or metrics or real != "test" or preset != "default":
            raise InputError("--suite fixes extractors, metrics, real images and preset")
        runs = suite.plan(suite.find(suite_name), cards, globs, kinds, changes)
    else:
        size = planning.preset(preset)
        most = size.images * (1 if precision is None else rounds.TIMES)
        draw = Draw(**{"steps": size.steps, "images": most, **changes})
        scoring = planning.scoring(_words(extractors), _words(metrics), real)
        kinds = dataclasses.replace(kinds, scoring=scoring)
        runs = [planning.plan(cards, globs, size, kinds, draw)]
    plans = [explaining.of_run(cells, probes, preset, place) for cells in runs]
    runs = [skips.beside(cells, skip, out) for cells in runs]
    rules = [rounds.rule(precision, cells) for cells in runs]
    for cells, rule, plan in zip(runs, rules, plans, strict=True):
        if dry_run:
            commands.dry_run(cells, rule, place, force)
            explaining.dry_run(cells, plan)
        else:
            parts = explaining.parts_of_run(cells, plan)
            explaining.write_beside(commands.run(cells, out, rule, place, force), plan, parts)


def _words(text: str | None) -> list[str]:
    return text.split(",") if text else []


@app.command()
def report(
    name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Id or folder [default: the last run].")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Name of a format.")
    ] = "markdown",
    out: Out = Path("reports"),
) -> None:
    """Render a run again: report.md and figures in its folder; the chosen format to stdout."""
    commands.report(out, name, format)


judging.add_to(app)
app.command()(measuring.speed)
app.command()(explaining.probe)


@app.command()
def train(
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME", help="What to train (see bench list).")
    ] = "fashion-unet",
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME", help="baseline, ip, sam or ip+sam.")
    ] = None,
    rho: Annotated[
        float | None, typer.Option("--rho", metavar="FLOAT", help="Radius of sam.")
    ] = None,
    gamma: Annotated[
        float | None, typer.Option("--gamma", metavar="FLOAT", help="Input perturbation of ip.")
    ] = None,
    updates: Annotated[
        int | None, typer.Option("--updates", metavar="N", help="Optimizer steps.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", help="Images per update.")
    ] = None,
    equal: Annotated[
        str | None,
        typer.Option(
            "--equal", metavar="NAME", help="updates, or compute: sam does half of them."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="INT", help="Random stream.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="NAME", help="float32 or bfloat16.")
    ] = None,
    sets: Sets = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Stem of the files [default: recipe].")
    ] = "",
    device: Device = "auto",
    compiled: Compiled = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of weights and snapshot.")
    ] = Path("runs"),
) -> None:
    """Train a recipe by one of the methods; go on where a killed run stopped.

    One run writes raw, EMA and SWA weights and a card for each. Example:
    bench train --method sam --rho 0.05
    """
    given = {"method": method, "rho": rho, "gamma": gamma, "updates": updates, "batch": batch}
    given |= {"equal": equal, "seed": seed, "precision": precision}
    place = {"out": out, "name": name, "device": device, "compiled": compiled}
    commands.train(recipe, settings(given, sets or ()), place)


app.command("import")(cli_data.import_checkpoint)
app.command()(cli_data.reference)
app.command()(cli_data.fetch)


@app.command("list")
def list_all(cards: Cards = None, out: Out = Path("reports")) -> None:
    """List checkpoints, recipes, extensions and runs."""
    commands.list_all(cards, out)


@app.command()
def check(cards: Cards = None, checkpoints: Names = None, force: Force = False) -> None:
    """Validate cards, the hashes of their files, and whether descriptions fit the weights."""
    commands.check(cards, checkpoints.split(",") if checkpoints else ["*"], force)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the command `bench`."""
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        code = _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        print("bench: interrupted; repeat the command to go on", file=sys.stderr)
        code = 130
    except Exception as error:
        # Usage errors of the parser; Typer ships its own copy of Click, so their class is private.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        code = _fail(message())
    sys.exit(code or 0)


def _fail(message: str) -> int:
    print("bench: " + " ".join(message.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
