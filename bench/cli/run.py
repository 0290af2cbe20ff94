"""`bench run`: from flags to the cells of each run, which are then explained and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import execution, exits, probe
from bench.cli.flags import (
    Backbones,
    Backends,
    Batch,
    Bits,
    Cards,
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
    Skip,
    Steps,
    SuiteName,
    Words,
    name_weights,
)
from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.evaluation import planning, sequential, skip_lists, suite
from bench.system import devices

if TYPE_CHECKING:
    from bench.evaluation.probe_context import Plan


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
    backbones: Backbones = None,
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
    name_weights(inception, backbones)
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
    execution.dry_run(cells, rule, device, force)
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
    folder, failed = execution.run(cells, out, rule, device, redact, force)
    failed |= probe.write_beside(folder, plan, parts, redact)
    return exits.FAILED if failed else exits.FINE


def _words(text: str | None) -> list[str]:
    return text.split(",") if text else []
