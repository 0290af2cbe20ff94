"""What the commands do, between the parsed flags and the layers below.

Data goes to stdout, progress and remarks to stderr. Nothing is written before the whole input has
been checked; a run's folder appears at its end.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import (
    __version__,
    devices,
    estimate,
    fits,
    influences,
    names,
    registry,
    rounds,
    store,
    tables,
)
from bench.errors import InputError
from bench.host import fingerprint, git_state
from bench.record import Fit, Record, Run, to_json
from bench.spec import Cell

if TYPE_CHECKING:
    from bench.pipeline import Pipeline
    from bench.protocols import Denoiser

# Cost of a batch in float batches, for estimates; measured, and only an estimate.
COSTS = {"float": 1.0, "simulated": 1.7}


def _cost(cell: Cell, batches: int) -> float:
    return batches * cell.draw.steps * COSTS.get(cell.backend, 1.0)


def dry_run(
    cells: Sequence[Cell],
    rule: rounds.Rule | None = None,
    device: str = devices.CPU,
    force: bool = False,
) -> None:
    """Print each cell with what is cached or refused, and the estimated time; at most that much
    where a rule stops cells earlier. Arguments as for `run`."""
    from bench.pipeline import Pipeline

    pipeline = Pipeline(fingerprint(device), store.cache_root())
    if rule:
        cells = rounds.Looks(pipeline, rule).planned(cells)
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
        print(f"{cell.checkpoint.name:32} {cell.scheme!s:12} {cell.backend:10} {state}")
    seconds = cost * pipeline.stages.forward_seconds(cells[0]) if cost else 0.0
    for line in estimate.lines(cells, pipeline, seconds):
        print(line)


def run(
    cells: Sequence[Cell],
    out: Path,
    rule: rounds.Rule | None = None,
    device: str = devices.CPU,
    force: bool = False,
) -> Path:
    """Run all cells and write reports/<id>/, the folder that is returned; an interrupted run
    leaves only the cache.

    Args:
        cells: of the run.
        out: the folder of runs.
        rule: when each cell has enough images; without one it takes those of its draw.
        device: where the networks are evaluated, from `devices.find`.
        force: whether checkpoints are taken that denoise worse than no network.
    """
    from bench.pipeline import Pipeline
    from bench.progress import Bar

    store.check_writable(out)
    store.check_writable(store.cache_root())
    if not rule:
        _remark(cells)
    start = time.monotonic()
    with Bar() as bar:
        pipeline = Pipeline(fingerprint(device), store.cache_root(), bar.advance)
        looks = rounds.Looks(pipeline, rule, bar.tell) if rule else None
        planned = looks.planned(cells) if looks else cells
        found = _checked(planned, pipeline, force, bar.tell)
        cached = sum(pipeline.cached(cell) is not None for cell in planned)
        bar.start([(c, _cost(c, pipeline.missing_batches(c))) for c in planned])
        engine = tables.lookup("engines", "local")
        if looks:
            records = looks.all(cells, engine, bar.watch)
        else:
            records = list(engine(bar.watch(pipeline.run), cells))
    if rule:
        _remark([record.cell for record in records])
    folder = _write(out, records, found, pipeline)
    if cached:
        print(f"{cached} of {len(cells)} cells came from the cache", file=sys.stderr)
    for record in records:
        if record.status != "ok":
            print(f"{record.cell}: {record.status}: {record.error}", file=sys.stderr)
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    print(folder / "report.md")
    if not any(record.status == "ok" for record in records):
        raise InputError("no cell was measured: the report says why")
    return folder


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
    told = [r for c in cells for e in c.extractors for r in names.remarks(e, c.draw.images)]
    for remark in dict.fromkeys(told):
        print(remark, file=sys.stderr)


def _write(out: Path, records: Sequence[Record], found: Sequence[Fit], pipeline: Pipeline) -> Path:
    """Write a run under a temporary name and rename it, so that it appears whole."""
    import tempfile

    from bench import report as rendering

    commit, dirty = git_state(Path.cwd())
    now = datetime.now(timezone.utc)
    stem = f"{now:%Y%m%dT%H%M%SZ}-{commit[:8] or 'nogit'}"
    identity, count = stem, 1
    while (out / identity).exists():
        count += 1
        identity = f"{stem}-{count}"
    command = "bench " + " ".join(sys.argv[1:])
    run = Run(
        *(identity, now.isoformat(timespec="seconds"), commit, dirty, command, tuple(records)),
        fits=tuple(found),
    )
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=out) as temporary:
        folder = Path(temporary) / identity
        store.save_text(folder / "run.json", to_json(run))
        terms: dict[str, Any] = {}
        for record in records:
            if record.status == "ok":
                terms |= pipeline.influences(record.cell)
                store.save_strip(
                    folder / "samples" / store.sample_name(record.cell),
                    pipeline.stages.sample_strip(record.cell),
                )
        influences.save(folder / influences.NAME, terms)
        rendering.render(run, folder)
        folder.rename(out / identity)
    rendering.write_index(out)
    return out / identity


def report(out: Path, name: str | None, form: str) -> None:
    """Render a run again and print it."""
    from bench import report as rendering

    if form not in rendering.FORMATS:
        raise InputError(f"unknown format {form!r}: choose {', '.join(rendering.FORMATS)}")
    folder = store.find_run(out, name)
    run = store.read_run(folder)
    store.check_writable(folder)
    rendering.render(run, folder)
    rendering.write_index(folder.resolve().parent)
    print(rendering.FORMATS[form](run, folder), end="")


def train(recipe: str, settings: Mapping[str, str], place: Mapping[str, Any]) -> None:
    """Train, resume, and write weights with their cards.

    Args:
        recipe: name of a recipe.
        settings: fields of the recipe to change, as text.
        place: fields of `training.run.Place`.
    """
    from bench.training import recipes, run

    run.run(recipes.find(recipe).changed(settings), run.Place(**place))


def list_all(cards: Path | None, out: Path) -> None:
    """Print checkpoints, recipes, extensions and runs."""
    from bench.training.recipes import RECIPES

    found = registry.load_cards(registry.card_file(cards))
    print("checkpoints")
    for card in found:
        print(f"  {card.name:32} {card.method:10} {card.dataset:16} {card.family}")
    for table in tables.TABLES:
        print(f"{table}\n  {'  '.join(tables.names(table))}")
    print(f"recipes\n  {'  '.join(RECIPES)}")
    print("runs")
    for folder in store.run_folders(out):
        print(f"  {folder.name}")


def _itself(denoiser: Denoiser) -> Denoiser:
    return denoiser


def check(cards: Path | None, globs: Sequence[str], force: bool = False) -> None:
    """Verify the files of the selected cards, and that they denoise; print one line for each."""
    path = registry.card_file(cards)
    for card in registry.select(registry.load_cards(path), globs):
        verified = registry.verify(card)
        denoiser = tables.lookup("sources", card.source)(verified)
        fit = fits.of(verified, functools.partial(_itself, denoiser))
        fits.require([fit], [card], force)
        for line in fits.tell([fit], [card]):
            print(line, file=sys.stderr)
        state = "ok" if card.sha256 else "ok, but the card has no sha256; add it"
        print(f"{card.name:32} {verified.sha256} {state}")
    print(f"{path}: valid (bench {__version__})", file=sys.stderr)
