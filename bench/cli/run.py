"""`bench run`: from flags to the cells of each run, which are then explained and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cli import execution, exits, probe, stopping
from bench.cli.flags import (
    Against,
    Backends,
    Batch,
    Bits,
    Cards,
    Decide,
    Device,
    DryRun,
    Engine,
    Extractors,
    Force,
    Images,
    Inception,
    Kernels,
    Margin,
    Metrics,
    Names,
    Out,
    Precision,
    PresetName,
    Probes,
    Real,
    Redact,
    Sampler,
    Seed,
    Skip,
    Steps,
    SuiteName,
    Words,
    name_inception,
)
from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.evaluation import planning, sequential, skip_lists, suite
from bench.evaluation.planning import EvaluationPlan
from bench.system import devices


def run(
    bits: Bits = None,
    scheme: Words = None,
    backend: Backends = None,
    compiled: Kernels = None,
    device: Device = devices.CPU,
    checkpoints: Names = None,
    preset: PresetName = "default",
    skip: Skip = None,
    images: Images = None,
    precision: Precision = None,
    until_decided: Decide = False,
    against: Against = None,
    margin: Margin = None,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    batch: Batch = 50,
    engine: Engine = planning.LOCAL,
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
    asked = stopping.asked(precision, until_decided, against, margin)
    place, runner = devices.find(device), planning.engine(engine)
    wanted, globs = planning.schemes(bits, scheme or ()), _words(checkpoints)
    given = {"sampler": sampler, "steps": steps, "images": images, "seed": seed, "batch": batch}
    changes = {field: value for field, value in given.items() if value is not None}
    executed = planning.backends(backend or (), wanted, place)
    choices = planning.Choices(wanted, executed, compiled=compiled)
    if suite_name is not None:
        if extractors or metrics or real != "test" or preset != "default":
            raise InputError("--suite fixes extractors, metrics, real images and preset")
        runs = suite.plan(suite.find(suite_name), cards, globs, choices, changes)
    else:
        size = planning.preset(preset)
        most = sequential.TIMES * size.images if asked.is_sequential else size.images
        drawn: dict[str, Any] = {"steps": size.steps, "images": most, **changes}
        scoring = planning.scoring(_words(extractors), _words(metrics), real)
        choices = dataclasses.replace(choices, scoring=scoring)
        runs = [planning.plan(cards, globs, size, choices, Draw(**drawn))]
    plans = _plans(runs, asked, place, runner, probes, preset, skip, out)
    if dry_run:
        return max(_planned(plan, force) for plan in plans)
    return max(_measured(plan, out, redact, force) for plan in plans)


def _plans(
    runs: Sequence[list[Cell]],
    asked: stopping.Asked,
    place: str,
    runner: str,
    probes: str | None,
    preset: str,
    skip: str | None,
    out: Path,
) -> list[EvaluationPlan]:
    """What is to be done for each run, with its probes and what ends its cells."""
    explained = [probe.of_run(cells, probes, preset, place) for cells in runs]
    plans = []
    for cells, probed in zip(runs, explained, strict=True):
        cells = skip_lists.beside(cells, skip, out)
        rule = stopping.rule(asked, cells, out)
        plans.append(EvaluationPlan(cells, place, runner, rule, probed))
    return plans


def _planned(plan: EvaluationPlan, force: bool) -> int:
    """Print what one run would do; the exit code."""
    execution.dry_run(plan, force)
    probe.dry_run(plan.cells, plan.probes)
    return exits.FINE


def _measured(plan: EvaluationPlan, out: Path, redact: bool, force: bool) -> int:
    """Explain and measure the cells of one run; the exit code."""
    parts = probe.parts_of_run(plan.cells, plan.probes)
    folder, has_failed_cells = execution.run(plan, out, redact, force)
    has_failed_parts = probe.write_beside(folder, plan.probes, parts, redact)
    return exits.FAILED if has_failed_cells or has_failed_parts else exits.FINE


def _words(text: str | None) -> list[str]:
    return text.split(",") if text else []
