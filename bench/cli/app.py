"""The command line: flags to cells, results to stdout, progress to stderr, exit codes.

The exit codes are those of `bench.cli.exits`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import __version__
from bench.cli import commands, compare, exits, listing, probe, reference, speed
from bench.cli.flags import (
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
    Redact,
    Sampler,
    Seed,
    Sets,
    Skip,
    Steps,
    SuiteName,
    Words,
)
from bench.cli.reference import name_inception, settings
from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.evaluation import planning, sequential, skip_lists, suite
from bench.system import devices

if TYPE_CHECKING:
    from bench.evaluation.probe_context import Plan

app = typer.Typer(
    name="bench",
    help="How much image quality a diffusion checkpoint loses under quantization.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command(epilog=exits.HELP)
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
    redact: Redact = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> int:
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
        most = size.images * (1 if precision is None else sequential.TIMES)
        drawn: dict[str, Any] = {"steps": size.steps, "images": most, **changes}
        draw = Draw(**drawn)
        scoring = planning.scoring(_words(extractors), _words(metrics), real)
        kinds = dataclasses.replace(kinds, scoring=scoring)
        runs = [planning.plan(cards, globs, size, kinds, draw)]
    plans = [probe.of_run(cells, probes, preset, place) for cells in runs]
    runs = [skip_lists.beside(cells, skip, out) for cells in runs]
    rules = [sequential.rule(precision, cells) for cells in runs]
    jobs = list(zip(runs, rules, plans, strict=True))
    if dry_run:
        return max(_planned(job, place, force) for job in jobs)
    return max(_measured(job, place, out, redact, force) for job in jobs)


def _planned(
    job: tuple[Sequence[Cell], sequential.Rule | None, Plan | None], device: str, force: bool
) -> int:
    """Print what one run would do; the exit code."""
    cells, rule, plan = job
    commands.dry_run(cells, rule, device, force)
    probe.dry_run(cells, plan)
    return exits.FINE


def _measured(
    job: tuple[Sequence[Cell], sequential.Rule | None, Plan | None],
    device: str,
    out: Path,
    redact: bool,
    force: bool,
) -> int:
    """Explain and measure the cells of one run; the exit code."""
    cells, rule, plan = job
    parts = probe.parts_of_run(cells, plan)
    folder, failed = commands.run(cells, out, rule, device, redact, force)
    failed |= probe.write_beside(folder, plan, parts, redact)
    return exits.FAILED if failed else exits.FINE


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
    redact: Redact = False,
) -> None:
    """Render a run again: report.md and figures in its folder; the chosen format to stdout.

    With --redact a copy in the folder `redacted` of the run's own is rendered instead.
    """
    commands.report(out, name, format, redact)


compare.add_to(app)
app.command()(speed.speed)
app.command()(probe.probe)


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


app.command("import")(reference.import_checkpoint)
app.command()(reference.reference)
app.command()(reference.fetch)


@app.command("list")
def list_all(cards: Cards = None, out: Out = Path("reports")) -> None:
    """List checkpoints, recipes, extensions and runs."""
    listing.list_all(cards, out)


@app.command()
def check(cards: Cards = None, checkpoints: Names = None, force: Force = False) -> None:
    """Validate cards, the hashes of their files, and whether descriptions fit the weights."""
    listing.check(cards, checkpoints.split(",") if checkpoints else ["*"], force)


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
    sys.exit(exits.ended(lambda: app(standalone_mode=False)))


if __name__ == "__main__":
    main()
