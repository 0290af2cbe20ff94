"""Carries out the cells of a run: checks, samples, measures, and writes the report.

Data goes to stdout, progress and remarks to stderr. Nothing is written before the whole input has
been checked; a run's folder appears at its end.
"""

from __future__ import annotations

import functools
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import distances, extensions
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.printable import say
from bench.core.record import Fit, Record, Run, to_json
from bench.evaluation import fits, sequential
from bench.evaluation.cost import _cost, lines
from bench.measurement import real
from bench.report import redaction
from bench.system import devices, influences, store
from bench.system.checkout import git_state
from bench.system.host import fingerprint
from bench.system.runs import sample_name, save_strip

if TYPE_CHECKING:
    from bench.evaluation.pipeline import Pipeline


def dry_run(
    cells: Sequence[Cell],
    rule: sequential.Rule | None = None,
    device: str = devices.CPU,
    force: bool = False,
) -> None:
    """Print each cell with what is cached or refused, and the estimated time; at most that much
    where a rule stops cells earlier. Arguments as for `run`."""
    from bench.evaluation.pipeline import Pipeline

    pipeline = Pipeline(fingerprint(device), store.cache_root())
    if rule:
        cells = sequential.Looks(pipeline, rule).planned(cells)
    _checked(cells, pipeline, force, lambda line: print(line, file=sys.stderr))
    cost = 0.0
    for cell in cells:
        missing = pipeline.missing_batches(cell)
        total = -(-cell.draw.images // cell.draw.batch)
        cost += _cost(cell, missing)
        if reason := pipeline.refusal(cell):
            state = f"refused: {reason}"
        elif pipeline.cached(cell):
            state = f"cached, N = {cell.draw.images}" if rule else "cached"
        else:
            state = f"{total - missing} of {total} batches cached"
            state = f"{state}, N up to {cell.draw.images}" if rule else state
        say(f"{cell.checkpoint.name:32} {cell.scheme!s:12} {cell.backend:10} {state}")
    seconds = cost * pipeline.stages.forward_seconds(cells[0]) if cost else 0.0
    for line in lines(cells, pipeline, seconds):
        print(line)


def run(
    cells: Sequence[Cell],
    out: Path,
    rule: sequential.Rule | None = None,
    device: str = devices.CPU,
    redact: bool = False,
    force: bool = False,
) -> tuple[Path, bool]:
    """Run all cells and write reports/<id>/; an interrupted run leaves only the cache.

    Returns:
        The folder, and whether a cell failed: a refusal of a backend is an answer, a failure none.

    Args:
        cells: of the run.
        out: the folder of runs.
        rule: when each cell has enough images; without one it takes those of its draw.
        device: where the networks are evaluated, from `devices.find`.
        redact: leave out host name, users' names and folders.
        force: whether checkpoints are taken that denoise worse than no network.

    Raises:
        InputError: nothing that was asked for can be measured here, or bad input.
    """
    from bench.evaluation.pipeline import Pipeline
    from bench.system.progress import Bar

    prepare(out)
    if not rule:
        _remark(cells)
    start = time.monotonic()
    with Bar() as bar:
        pipeline = Pipeline(fingerprint(device), store.cache_root(), bar.advance)
        _check_refusals(cells, pipeline)
        looks = sequential.Looks(pipeline, rule, bar.tell) if rule else None
        planned = looks.planned(cells) if looks else cells
        found = _checked(planned, pipeline, force, bar.tell)
        cached = sum(pipeline.cached(cell) is not None for cell in planned)
        bar.start([(c, _cost(c, pipeline.missing_batches(c))) for c in planned])
        engine = extensions.lookup("engines", "local")
        if looks:
            records = looks.all(cells, engine, bar.watch)
        else:
            records = list(engine(bar.watch(pipeline.run), cells))
    if rule:
        _remark([record.cell for record in records])
    folder = _write(out, _described(records, found), pipeline, redact)
    _tell(records, cached, time.monotonic() - start)
    print(folder / "report.md")
    return folder, any(record.status == "failed" for record in records)


def prepare(out: Path) -> None:
    """Make sure that reports and the cache take files, and clear what killed commands left."""
    store.check_writable(out)
    store.check_cache()
    store.sweep(store.cache_root())


def _tell(records: Sequence[Record], cached: int, seconds: float) -> None:
    """Say what was not computed, cells from the cache and those without numbers, and the time."""
    if cached:
        print(f"{cached} of {len(records)} cells came from the cache", file=sys.stderr)
    for record in records:
        if record.status != "ok":
            say(f"{record.cell}: {record.status}: {record.error}", file=sys.stderr)
        elif record.error:
            say(f"{record.cell}: {record.error}", file=sys.stderr)
    print(f"{seconds:.0f} s", file=sys.stderr)


def _check_refusals(cells: Sequence[Cell], pipeline: Pipeline) -> None:
    """Refuse a run of which full precision alone would be left."""
    asked = [cell for cell in cells if not cell.scheme.is_float]
    reasons = [pipeline.refusal(cell) for cell in asked]
    if asked and all(reasons):
        told = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
        raise InputError(f"nothing that was asked for can be measured here: {told}")


def _checked(
    cells: Sequence[Cell], pipeline: Pipeline, force: bool, tell: Callable[[str], None]
) -> list[Fit]:
    """Check the cells, and whether the descriptions of their checkpoints fit the weights.

    Raises:
        InputError: as for `Pipeline.check`; or a network that denoises worse than none, unforced.
    """
    found: dict[str, Fit] = {}
    cards = {cell.checkpoint.name: cell.checkpoint for cell in cells}
    for name, card in cards.items():
        own = [cell for cell in cells if cell.checkpoint.name == name]
        # Both load the network, of which the last one is kept.
        pipeline.check(own)
        found[name] = fits.of(card, functools.partial(pipeline.stages.denoiser, own[0]))
    fits.require(found.values(), list(cards.values()), force)
    for line in fits.tell(found.values(), list(cards.values())):
        tell(line)
    return list(found.values())


def _remark(cells: Sequence[Cell]) -> None:
    told = [r for c in cells for e in c.extractors for r in distances.remarks(e, c.draw.images)]
    asked = functools.cache(real.count)
    for cell in cells:
        found = real.counts(cell, asked)
        told += distances.few_real(cell.draw.images, found, cell.checkpoint.dataset)
    for remark in dict.fromkeys(told):
        print(remark, file=sys.stderr)


def _described(records: Sequence[Record], found: Sequence[Fit]) -> Run:
    """The run as it is written, under the name that it is to have."""
    commit, dirty = git_state(Path.cwd())
    now = datetime.now(timezone.utc)
    stem = f"{now:%Y%m%dT%H%M%SZ}-{commit[:8] or 'nogit'}"
    created = now.isoformat(timespec="seconds")
    return Run(stem, created, commit, dirty, command_line(), tuple(records), fits=tuple(found))


def _write(out: Path, described: Run, pipeline: Pipeline, redact: bool) -> Path:
    """Write a run under a temporary name and rename it, so that it appears whole."""
    from bench import report as rendering

    def write(folder: Path, identity: str) -> None:
        run = replace(described, id=identity)
        run = redaction.redacted(run) if redact else run
        store.save_text(folder / "run.json", to_json(run))
        terms: dict[str, Any] = {}
        for record in described.records:
            if record.status == "ok":
                terms |= pipeline.influences(record.cell)
                save_strip(
                    folder / "samples" / sample_name(record.cell),
                    pipeline.stages.sample_strip(record.cell),
                )
        influences.save(folder / influences.NAME, terms)
        rendering.render(run, folder)

    folder = store.publish(out, described.id, write)
    rendering.write_index(out)
    return folder


def command_line() -> str:
    """This command as a shell takes it; bytes that are no text stand escaped."""
    line = shlex.join(["bench", *sys.argv[1:]])
    return line.encode(errors="backslashreplace").decode()
