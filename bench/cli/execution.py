"""Carries out the cells of a run: checks, samples, measures, and writes the report.

Data goes to stdout, progress and remarks to stderr. Nothing but the cache is written before the
whole input has been checked; a run's folder appears at its end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import ending, publishing
from bench.cli.checking import Checked
from bench.cli.handing import Execution
from bench.core import distances, extensions
from bench.core.cell import PIPELINE, Cell
from bench.core.errors import InputError
from bench.core.printable import say
from bench.core.record import Record, Run
from bench.evaluation import records
from bench.evaluation.cost import lines, sampling_cost
from bench.evaluation.engines import template
from bench.system import store
from bench.system.host import fingerprint
from bench.system.influences import Influences
from bench.verdicts import unchanged

if TYPE_CHECKING:
    import numpy as np

    from bench.evaluation.pipeline import Pipeline
    from bench.evaluation.planning import EvaluationPlan
    from bench.evaluation.resolved import ResolvedCell, Resolver
    from bench.system.progress import Bar


def dry_run(plan: EvaluationPlan, force: bool = False) -> None:
    """Print each cell with what is cached or refused, and the estimated time; at most that much
    where a rule stops cells earlier. Arguments as for `run`."""
    from bench.evaluation.pipeline import Pipeline
    from bench.evaluation.resolved import Resolver
    from bench.evaluation.sequential import SequentialRunner

    resolver = Resolver(fingerprint(plan.device), store.cache_root())
    cells, rule = plan.cells, plan.rule
    if rule:
        cells = SequentialRunner(resolver, rule).planned(cells)
    resolved = [resolver.resolve(cell) for cell in cells]
    pipeline = Pipeline(resolver.host, resolver.cache)
    checked_fits(resolved, pipeline, force, lambda line: print(line, file=sys.stderr))
    cost = 0.0
    for wanted in resolved:
        cell, missing, total = (
            wanted.cell,
            records.missing_batches(wanted),
            len(wanted.images.paths),
        )
        cost += sampling_cost(cell, missing)
        if wanted.refusal is not None:
            state = f"refused: {wanted.refusal}"
        elif records.cached(wanted):
            state = f"cached, N = {cell.draw.images}" if rule else "cached"
        else:
            state = f"{total - missing} of {total} batches cached"
            state = f"{state}, N up to {cell.draw.images}" if rule else state
        say(f"{cell.checkpoint.name:32} {cell.scheme!s:12} {cell.backend:10} {state}")
    seconds = cost * pipeline.generation.forward_seconds(cells[0]) if cost else 0.0
    for line in lines(resolved, pipeline.generation, seconds):
        print(line)


def run(
    plan: EvaluationPlan, out: Path, redact: bool = False, force: bool = False
) -> tuple[Path, bool]:
    """Run all cells and write reports/<id>/; an interrupted run leaves only the cache.

    Returns:
        The folder, and whether a cell failed: a refusal of a backend is an answer, a failure none.

    Args:
        plan: of the run.
        out: the folder of runs.
        redact: leave out host name, users' names and folders.
        force: whether checkpoints are taken that denoise worse than no network.

    Raises:
        InputError: nothing that was asked for can be measured here, or bad input.
    """
    from bench.evaluation.resolved import Resolver
    from bench.evaluation.sequential import SequentialRunner
    from bench.system.progress import Bar

    prepare(out)
    resolver = Resolver(fingerprint(plan.device), store.cache_root())
    if not plan.rule:
        _remark(resolver, plan.cells)
    start = time.monotonic()
    with Bar() as bar:
        runner = SequentialRunner(resolver, plan.rule, bar.tell) if plan.rule else None
        planned = runner.planned(plan.cells) if runner else plan.cells
        resolved, checked = examined(plan, planned, resolver, force, bar)
        if template.prepared() is not None:
            publishing.load_beside()
        bar.start([(r.cell, records.missing_batches(r), sampling_cost(r.cell)) for r in resolved])
        count = sum(records.cached(wanted) is not None for wanted in resolved)
        execute = Execution(plan, resolver, bar, checked.look)
        outcomes = runner.run(plan.cells, execute) if runner else execute(plan.cells)
        found = checked.fits()
    if plan.rule:
        _remark(resolver, [record.cell for record in outcomes])
    described = publishing.described(outcomes, found, _stated(plan))
    folder = _write(out, described, resolver, redact)
    _tell(outcomes, count, time.monotonic() - start)
    for line in publishing.nearer_than_the_floor(described, folder):
        say(line, file=sys.stderr)
    ending.tell(described, folder)
    print(folder / "report.md")
    return folder, any(record.status == "failed" for record in outcomes)


def prepare(out: Path | None) -> None:
    """Make sure that reports, where there are any, and the cache take files, and clear what
    killed commands left."""
    if out is not None:
        store.check_writable(out)
    store.check_cache()
    store.sweep(store.cache_root())


def _tell(outcomes: Sequence[Record], cached: int, seconds: float) -> None:
    """Say what was not computed, cells from the cache and those without numbers, and the time."""
    if cached:
        print(f"{cached} of {len(outcomes)} cells came from the cache", file=sys.stderr)
    for record in outcomes:
        for line in outcome_lines(record):
            say(line, file=sys.stderr)
    print(f"{seconds:.0f} s", file=sys.stderr)


def outcome_lines(record: Record) -> list[str]:
    """What a user is told of a cell beside its numbers: images that did not change, what was not
    measured, a refusal or a failure."""
    status = "" if record.status == "ok" else f"{record.status}: "
    told = [unchanged.told(record), f"{status}{record.error}" if record.error or status else ""]
    return [f"{record.cell}: {text}" for text in told if text]


def check_refusals(resolved: Sequence[ResolvedCell]) -> None:
    """Refuse a run of which full precision alone would be left."""
    judged = [wanted for wanted in resolved if not wanted.cell.is_floor]
    reasons = [wanted.refusal for wanted in judged if not wanted.cell.is_reference]
    if reasons and all(reasons):
        told = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
        raise InputError(f"nothing that was asked for can be measured here: {told}")


def examined(
    plan: EvaluationPlan, cells: Sequence[Cell], resolver: Resolver, force: bool, bar: Bar
) -> tuple[list[ResolvedCell], Checked]:
    """Resolve and check the cells of a run before any of them is computed; but where workers of
    their own compute them, fits are found while these begin. What is loaded for that is gone
    afterwards, as an engine loads what it needs itself: it begins to meanwhile, if the block of
    `template.held` allows it.

    Raises:
        InputError: bad input, or nothing that was asked for can be measured here.
    """
    from bench.evaluation.pipeline import Pipeline

    resolved = [resolver.resolve(cell) for cell in cells]
    check_refusals(resolved)
    if any(each.refusal is None and records.cached(each) is None for each in resolved):
        template.prepare(plan.engine, plan.device)
    pipeline = Pipeline(resolver.host, resolver.cache)
    # A pipeline may fill the memory, so nobody else has one meanwhile.
    is_large = any(cell.checkpoint.source == PIPELINE for cell in cells)
    is_beside = template.prepared() is not None and not is_large
    return resolved, checked_fits(resolved, pipeline, force, bar.tell, is_beside)


def checked_fits(
    resolved: Sequence[ResolvedCell],
    pipeline: Pipeline,
    force: bool,
    tell: Callable[[str], None],
    is_beside: bool = False,
) -> Checked:
    """Check the cells, and whether the descriptions of their checkpoints fit the weights; the
    latter may go on beside what comes next.

    Raises:
        InputError: as for `Pipeline.check`; or a network that denoises worse than none, unforced.
    """
    cards = {wanted.cell.checkpoint.name: wanted.cell.checkpoint for wanted in resolved}
    for name in cards:
        # It loads the network, of which the last one is kept.
        pipeline.check(wanted for wanted in resolved if wanted.cell.checkpoint.name == name)
    return Checked(cards, pipeline.generation.denoiser, force, tell, is_beside)


def _remark(resolver: Resolver, cells: Sequence[Cell]) -> None:
    """Say what the numbers of images mean for the metrics."""
    remarks = [r for c in cells for e in c.extractors for r in distances.remarks(e, c.draw.images)]
    for cell in cells:
        counts = resolver.resolve(cell).real_images
        remarks += distances.few_real(cell.draw.images, counts, cell.checkpoint.dataset)
    for remark in dict.fromkeys(remarks):
        print(remark, file=sys.stderr)


def _stated(plan: EvaluationPlan) -> dict[str, str]:
    """An engine as a run states it, and which kernels were chosen for it."""
    kernels = {"kernels": plan.kernels} if plan.kernels else {}
    return {"name": plan.engine, **extensions.identity("engines", plan.engine), **kernels}


def _write(out: Path, described: Run, resolver: Resolver, redact: bool) -> Path:
    """Write a run with what the cache holds of its cells."""
    from bench.evaluation.generation import Generation

    generation = Generation(resolver.host.device)

    def kept(record: Record) -> tuple[Influences, np.ndarray]:
        finished = resolver.resolve(record.cell)
        return records.influences_of(finished), generation.sample_strip(finished.images)

    return publishing.write(out, described, kept, redact)
