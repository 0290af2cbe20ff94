"""`bench run`: from flags to the cells of each run, which are then explained and measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cli import execution, exits, handing, probe, shards, stopping
from bench.cli.acting import acting
from bench.cli.flags import (
    Address,
    Against,
    Backbones,
    Backends,
    Batch,
    Bits,
    Cards,
    Decide,
    Device,
    DryRun,
    Engine,
    Extractors,
    Floor,
    Force,
    Images,
    Inception,
    Kernels,
    Margin,
    Methods,
    Metrics,
    Names,
    Out,
    Precision,
    PresetName,
    Probes,
    PromptFile,
    Real,
    Redact,
    Sampler,
    Seed,
    Shard,
    Skip,
    Spacing,
    Steps,
    SuiteName,
    TrustCode,
    WeightsFrom,
    Words,
    Workers,
    listed,
)
from bench.cli.guiding import Also, Guidance, Interval, drawn
from bench.cli.selection import Scored, Selection
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.printable import say
from bench.evaluation import added_methods, fastest, floors, planning, skip_lists
from bench.evaluation.engines import template
from bench.evaluation.engines.automatic import AUTO, LOCAL, checked
from bench.evaluation.planning import EvaluationPlan
from bench.system import devices, host
from bench.system.host import fingerprint

# Images of a cell below which nothing is loaded before it is known what runs the cells.
SHORT = 100


@acting(inception=(Inception, None), backbones=(Backbones, None), trust_code=(TrustCode, False))
@template.held()
def run(
    bits: Bits = None,
    scheme: Words = None,
    method: Methods = None,
    weights_from: WeightsFrom = None,
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
    spacing: Spacing = None,
    guidance: Guidance = None,
    guidance_interval: Interval = None,
    seed: Seed = 0,
    batch: Batch = 50,
    engine: Engine = AUTO,
    workers: Workers = None,
    address: Address = None,
    shard: Shard = None,
    suite_name: SuiteName = None,
    extractors: Extractors = None,
    metrics: Metrics = None,
    real: Real = "test",
    probes: Probes = None,
    floor: Floor = floors.AUTO,
    cards: Cards = None,
    out: Out = Path("reports"),
    redact: Redact = False,
    prompts: PromptFile = None,
    also: Also = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> int:
    """Quantize, sample and measure; write a versioned report."""
    asked, place = stopping.asked(precision, until_decided, against, margin), devices.find(device)
    draw = drawn(guidance, guidance_interval, sampler, spacing, steps, images, seed, batch)
    runner, to = checked(engine, workers, address), Outcome(out, redact, force, dry_run, shard)
    cells = Selection(cards, checkpoints, _how(bits, scheme, also, backend, compiled, place), draw)
    beside = Beside(method or (), weights_from, skip, floor, cells.choices, bits, suite_name)
    template.expect(LOCAL if dry_run or _is_short(images, preset) else runner, place)
    runs = cells.runs(suite_name, preset, Scored.of(extractors, metrics, real), asked, prompts)
    return _carried_out(_plans(runs, asked, place, runner, probes, preset, beside, to), to)


def _is_short(images: int | None, preset: str) -> bool:
    """Whether a run may be over before its workers have loaded their libraries."""
    return preset == "smoke" if images is None else images < SHORT


def _how(
    bits: int | None,
    scheme: list[str] | None,
    also: str | None,
    backend: list[str] | None,
    compiled: bool | None,
    place: str,
) -> planning.Choices:
    """What is done to each checkpoint."""
    parts = tuple(listed("--also", also))
    wanted = [replace(one, also=parts) for one in planning.schemes(bits, scheme or ())]
    executed = planning.backends(backend or (), wanted, place)
    kernels = fastest.allowed(backend or (), compiled)
    return planning.Choices(wanted, executed, compiled=compiled, kernels=kernels)


@dataclass(frozen=True)
class Beside:
    """What is measured beside the cells that are asked for: flags as the user wrote them, and
    whether the default method is, where none is named; and which integer kernels may be taken."""

    methods: Sequence[str]
    weights: str | None
    skip: str | None
    floor: str
    choices: planning.Choices
    bits: int | None
    suite: str | None

    @property
    def is_open(self) -> bool:
        """Whether `--bits` alone says how the weights are rounded."""
        named = self.suite or self.methods or self.weights
        return self.bits is not None and not named


def _plans(
    runs: Sequence[list[Cell]],
    asked: stopping.Asked,
    place: str,
    runner: str,
    probes: str | None,
    preset: str,
    beside: Beside,
    to: Outcome,
) -> list[EvaluationPlan]:
    """What is to be done for each run, with its probes, floors and what ends its cells.

    Raises:
        InputError: a floor, or a share, is asked for where N is not fixed, or bad names.
    """
    if to.share and (asked.is_sequential or probes):
        raise InputError("--shard is for runs of a fixed N without --probes: leave those out")
    if asked.is_sequential and floors.named(beside.floor):
        raise InputError("--floor is measured in runs of a fixed N: leave it out")
    explained = [probe.of_run(cells, probes, preset, place) for cells in runs]
    plans, given = [], host.given_threads()
    for cells, probed in zip(runs, explained, strict=True):
        cells = skip_lists.beside(cells, beside.skip, to.out)
        cells = added_methods.beside(cells, beside.methods, beside.weights)
        if beside.is_open:
            cells = added_methods.by_default(cells)
        engine, threads = handing.engine(runner, cells, place, given)
        host.set_threads(threads)
        cells, kernels = fastest.chosen(cells, fingerprint(place), beside.choices.kernels)
        if not kernels.is_usual:
            say(kernels.line, file=sys.stderr)
        if not asked.is_sequential:
            cells = floors.beside(cells, beside.floor, fingerprint(place))
        rule = stopping.rule(asked, cells, to.out)
        plans.append(EvaluationPlan(cells, place, engine, threads, rule, probed, kernels.line))
    return plans


@dataclass(frozen=True)
class Outcome:
    """What comes of a run: a report, with what flags say about it; a share of its images, number
    and count; or only lines that say what would be done."""

    out: Path
    redact: bool
    force: bool
    dry_run: bool
    shard: str | None

    @property
    def share(self) -> tuple[int, int] | None:
        """Number and count of the share; None for all of the images."""
        return shards.parsed(self.shard)


def _carried_out(plans: Sequence[EvaluationPlan], to: Outcome) -> int:
    """Carry out one run after the other; the largest exit code."""
    return max(_one(plan, to) for plan in plans)


def _one(plan: EvaluationPlan, to: Outcome) -> int:
    """Measure the cells of one run, make a share of it, or print what would be done; the exit
    code."""
    host.set_threads(plan.threads)
    if to.dry_run:
        return _planned(plan, to.force)
    if to.share:
        return exits.FAILED if shards.run(plan, to.share, to.force) else exits.FINE
    return _measured(plan, to.out, to.redact, to.force)


def _planned(plan: EvaluationPlan, force: bool) -> int:
    """Print what one run would do; the exit code."""
    execution.dry_run(plan, force)
    probe.dry_run(plan.cells, plan.probes)
    return exits.FINE


def _measured(plan: EvaluationPlan, out: Path, redact: bool, force: bool) -> int:
    """Explain and measure the cells of one run; the exit code."""
    parts = probe.parts_of_run(plan.cells, plan.probes, plan.engine)
    folder, has_failed_cells = execution.run(plan, out, redact, force)
    has_failed_parts = probe.write_beside(folder, plan.probes, parts, redact)
    return exits.FAILED if has_failed_cells or has_failed_parts else exits.FINE
