"""From flags to the cells of a run: sizes, schemes, backends, metrics, every input checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import distances, extensions, spacings
from bench.core.cell import PIPELINE, Cell, Checkpoint, Draw, expand
from bench.core.errors import InputError, offer
from bench.core.printable import quoted
from bench.core.refusals import refusal
from bench.core.scheme import Scheme
from bench.evaluation import piped, prompted
from bench.evaluation.engines import automatic
from bench.measurement import real
from bench.models.cards import card_file, first_seeds, is_shipped, load_cards, select, verify
from bench.system import devices
from bench.system.host import fingerprint, threads

if TYPE_CHECKING:
    from bench.evaluation.probe_context import Plan as ProbePlan
    from bench.evaluation.rules import Rule

# The first of these integer backends that runs here is taken.
INTEGER_BACKENDS = ("int8-cuda", "int8-x86")

COMPILABLE = "int8-x86"


@dataclass(frozen=True)
class Choices:
    """What is done to each checkpoint.

    Attributes:
        schemes, backends: each backend executes each scheme.
        scoring: fields of the cells that differ from the defaults: extractors, metrics, real.
            Metrics that begin with "+" come beside the default ones.
        compiled: whether integer kernels are compiled where they can be; None where it is open
            (`fastest`).
        kernels: integer kernels that may take the place of `int8-x86` (`fastest`).
        named: fields of the draw that the user named.
        prompts: file of the prompts of pipelines, None for those that the cards name.
    """

    schemes: Sequence[Scheme]
    backends: Sequence[str]
    scoring: Mapping[str, Any] = field(default_factory=dict)
    compiled: bool | None = None
    kernels: Sequence[str] = ()
    named: frozenset[str] = frozenset()
    prompts: Path | None = None


@dataclass(frozen=True)
class EvaluationPlan:
    """One run, before anything is computed.

    Attributes:
        cells: that are measured; where there is a rule, their N is the most that it may come to.
        device: where networks are evaluated, from `devices.find`.
        engine: name of what runs the cells.
        threads: of each process that runs them.
        rule: when a cell has enough images; without one it takes those of its draw.
        probes: what is explained beside, None for nothing.
        kernels: which integer kernels were chosen, and why, in a line; "" where nothing was.
    """

    cells: Sequence[Cell]
    device: str = devices.CPU
    engine: str = automatic.LOCAL
    threads: int = field(default_factory=threads)
    rule: Rule | None = None
    probes: ProbePlan | None = None
    kernels: str = ""


@dataclass(frozen=True)
class Preset:
    """Sizes of a run; `repetitions` are trainings that differ in their seed alone."""

    images: int
    steps: int
    checkpoints: tuple[str, ...]
    repetitions: bool = False


CORE = ("baseline", "ema", "swa", "sam")
PRESETS = {
    "smoke": Preset(50, 5, ("baseline", "sam")),
    "default": Preset(500, 20, CORE),
    "full": Preset(5000, 100, ("*",), repetitions=True),
}


def preset(name: str) -> Preset:
    """The preset of a name; InputError where there is none."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {quoted(name)}: {offer(name[:100], PRESETS)}")
    return PRESETS[name]


def without_none(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that the user gave."""
    return {name: value for name, value in given.items() if value is not None}


def schemes(bits: int | None, texts: Sequence[str]) -> list[Scheme]:
    """Schemes of the flags: `--bits B` is wBa8; without flags w8a8 and w4a8."""
    if bits is not None and not 2 <= bits <= 8:
        raise InputError(f"--bits must be 2..8, not {bits}")
    wanted = [Scheme.parse(text) for text in texts]
    if bits is not None:
        wanted.insert(0, Scheme.parse(f"w{bits}a8"))
    return list(dict.fromkeys(wanted)) or [Scheme.parse("w8a8"), Scheme.parse("w4a8")]


def backends(
    given: Sequence[str], wanted: Sequence[Scheme], device: str = devices.CPU
) -> list[str]:
    """Those of the flags, else the simulation and the integer kernels of the device here.

    Raises:
        InputError: an unknown name.
    """
    for name in given:
        extensions.require("backends", name)
    if given:
        return list(dict.fromkeys(given))
    host, reasons = fingerprint(device), []
    for name in INTEGER_BACKENDS:
        refusals = [refusal(name, scheme, host) for scheme in wanted]
        if not any(refusals):
            return ["simulated", name]
        reasons.append(next(filter(None, refusals)))
    print(f"simulated only: {'; '.join(reasons)}", file=sys.stderr)
    return ["simulated"]


def scoring(extractors: Sequence[str], metrics: Sequence[str], split: str) -> dict[str, Any]:
    """Fields of the cells that say how they are scored, every name checked.

    Raises:
        InputError: an unknown name, or no split.
    """
    for table, words in (("extractors", extractors), ("metrics", metrics)):
        for name in words:
            extensions.require(table, name.removeprefix("+"))
    if len({name.startswith("+") for name in metrics}) > 1:
        raise InputError("--metrics: either all names begin with +, or none does")
    if split not in ("test", "train"):
        raise InputError(f"--real must be test or train, not {split!r}")
    given = {"extractors": tuple(extractors), "metrics": tuple(metrics)}
    return {field: value for field, value in given.items() if value} | {"real": split}


def plan(
    cards: Path | None, globs: Sequence[str], size: Preset, choices: Choices, draw: Draw
) -> list[Cell]:
    """The cells of a run, every input checked.

    Args:
        globs: names or methods of checkpoints; where there are none, those of the preset out of
            the shipped cards and all of anyone else's, without repetitions of a training by other
            seeds.
        choices: what is done to each checkpoint.

    Raises:
        InputError: bad cards, hashes, sizes or names.
    """
    extensions.require("samplers", draw.sampler)
    spacings.require(draw.spacing)
    selected = _selected(cards, globs, size)
    chosen = [verify(piped.with_prompts(card, choices.prompts)) for card in selected]
    asked, draw = draw.batch, fitted(draw)
    cells = expand(chosen, choices.schemes, choices.backends, draw)
    cells = [_compiled(cell) for cell in cells] if choices.compiled else cells
    cells = [piped.fitted(cell, choices.named) for cell in cells]
    cells = [_scored(cell, choices.scoring) for cell in cells]
    check_scoring(cells)
    if any(cell.checkpoint.source != PIPELINE for cell in cells):
        prompted.refuse(cells[0].metrics)
    by_real_images = {(c.checkpoint.dataset, c.extractors, c.metrics, c.real): c for c in cells}
    for cell in by_real_images.values():
        piped.check(cell)
        real.check(cell)
    if draw.batch != asked:
        print(f"batch: {draw.batch}, as there are no more images", file=sys.stderr)
    for scheme in choices.schemes:
        print(f"{scheme}: {scheme.explain()}", file=sys.stderr)
    return cells


def _selected(cards: Path | None, globs: Sequence[str], size: Preset) -> list[Checkpoint]:
    """The cards that are asked for, or the default ones; which of a user's own is told."""
    path = card_file(cards)
    known = load_cards(path)
    if globs:
        return select(known, globs)
    if not known:
        raise InputError(f"{path} holds no checkpoint: write a card with `bench import PATH`")
    shipped = is_shipped(path)
    chosen = select(known, size.checkpoints) if shipped else known
    chosen = chosen if size.repetitions else first_seeds(chosen)
    if not shipped:
        names = ", ".join(card.name for card in chosen)
        print(f"checkpoints of {path}: {names} (--checkpoints chooses)", file=sys.stderr)
    return chosen


def fitted(draw: Draw) -> Draw:
    """The draw with no more images in a batch than there are: batches are sampled whole, and what
    would be padded costs time. The batch is part of the keys of what is cached."""
    if draw.batch <= draw.images:
        return draw
    return replace(draw, batch=draw.images)


def _compiled(cell: Cell) -> Cell:
    if cell.backend != COMPILABLE:
        return cell
    return replace(cell, backend=f"{COMPILABLE}:compiled")


def _scored(cell: Cell, changes: Mapping[str, Any]) -> Cell:
    """The cell with other extractors, metrics and real images."""
    given = metric_names(changes.get("metrics", ()), cell.metrics)
    # What compares kernels with the simulation belongs to the backend.
    given = (*given, *(m for m in cell.metrics if m == "psnr_simulated"))
    return replace(cell, **{**changes, "metrics": tuple(dict.fromkeys(given))})


def metric_names(given: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """The metrics that are asked for, each once: those given, or where none are given or they
    begin with "+", the default ones and those beside them."""
    names = [name.removeprefix("+") for name in given]
    is_beside = not given or given[0].startswith("+")
    return tuple(dict.fromkeys((*default, *names) if is_beside else names))


def check_scoring(cells: Sequence[Cell]) -> None:
    """Refuse metrics and extractors that do not fit each other, or the number of images.

    Raises:
        InputError: they do not.
    """
    _check_sizes(cells)
    _check_extractors_and_metrics(cells[0])


def _check_sizes(cells: Sequence[Cell]) -> None:
    """Refuse a number of images that a metric is not defined for.

    Raises:
        InputError: N is too small.
    """
    for cell in cells:
        for name in cell.metrics:
            least = extensions.lookup("metrics", name).least
            if cell.draw.images < least:
                raise InputError(
                    f"metric {name} needs at least {least} images, not {cell.draw.images}: "
                    f"raise --images"
                )


def _check_extractors_and_metrics(cell: Cell) -> None:
    """Refuse what would be left out without a word; the defaults are not asked for.

    Raises:
        InputError: an extractor that no metric takes, or a metric that takes none of them.
    """
    takes = {name: extensions.lookup("metrics", name).kinds for name in cell.metrics}
    kinds = {distances.kind(extractor) for extractor in cell.extractors}
    for extractor in set(cell.extractors) - set(Cell.extractors):
        if not any(distances.kind(extractor) in taken for taken in takes.values()):
            example = ", for example +cmmd" if extractor == "clip" else ""
            raise InputError(
                f"extractor {extractor}: none of the metrics takes what it gives; see `--metrics`"
                f"{example}"
            )
    for name in set(cell.metrics) - set(Cell.metrics):
        if takes[name] and not kinds & set(takes[name]):
            raise InputError(f"metric {name}: none of the extractors gives what it takes")
