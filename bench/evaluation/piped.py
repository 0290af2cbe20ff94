"""Cells of prompted pipelines: what the pipeline itself decides stands in their draws.

A pipeline samples by its own scheduler, so its draw has no sampler and no spacing of the suite's.
Its scale of guidance is what the user asks for, else what the card says, else the default of the
pipeline's class; the type that it is computed in is what the card says, else float32. Where there
are no real images of what the prompts ask for (`dataset: none`), metrics that compare with them
are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from bench.core import extensions
from bench.core.cell import PIPELINE, Cell, Checkpoint, Draw
from bench.core.elsewhere import UNKNOWN
from bench.core.errors import InputError
from bench.models.pipelines import folder, known, prompt_files

# Fields of a draw that say how the suite's own samplers go, by the flag that sets them.
OTHERS = {
    "sampler": "--sampler",
    "spacing": "--spacing",
    "guided_from": "--guidance-interval",
    "guided_to": "--guidance-interval",
}


def with_prompts(card: Checkpoint, file: Path | None) -> Checkpoint:
    """The card with the prompts of the command line in the place of its own.

    Raises:
        InputError: it is no pipeline.
    """
    if file is None:
        return card
    if card.source != PIPELINE:
        raise InputError(
            f"--prompts is for pipelines, and card {card.name!r} has source {card.source}: choose "
            f"others by --checkpoints"
        )
    return replace(card, prompts=str(file.absolute()), prompts_sha256="")


def fitted(cell: Cell, named: Collection[str]) -> Cell:
    """The cell as its pipeline draws it; any other cell as it is.

    Args:
        cell: its card is verified.
        named: fields of the draw that the user named.

    Raises:
        InputError: the user named one that the pipeline's own scheduler decides, or asked for
            text encoders of what has none.
    """
    card = cell.checkpoint
    if card.source != PIPELINE:
        if cell.scheme.also:
            raise InputError(
                f"--also is for pipelines, and card {card.name!r} has source {card.source}: "
                f"choose others by --checkpoints"
            )
        return cell
    for name, flag in OTHERS.items():
        if name in named:
            raise InputError(
                f"card {card.name!r} is a pipeline, which samples by its own scheduler: leave "
                f"{flag} out"
            )
    if card.dataset == UNKNOWN:
        kept = [m for m in cell.metrics if not extensions.lookup("metrics", m).needs]
        cell = replace(cell, metrics=tuple(kept))
    return replace(cell, draw=_drawn(card, cell.draw, "guidance" in named))


def _drawn(card: Checkpoint, draw: Draw, is_asked: bool) -> Draw:
    guidance = draw.guidance
    if not is_asked:
        own = known.GUIDANCE[folder.read(folder.located(card.uri, card.revision)).pipeline]
        guidance = card.config.get("guidance", own)
    drawn = replace(draw, sampler=PIPELINE, spacing=PIPELINE, guidance=float(guidance))
    return replace(drawn, dtype=known.dtype(card.config))


def check(cell: Cell) -> None:
    """Refuse metrics that need real images, where there are none.

    Raises:
        InputError: there is such a metric.
    """
    if cell.checkpoint.dataset != UNKNOWN:
        return
    for name in cell.metrics:
        if extensions.lookup("metrics", name).needs:
            raise InputError(
                f"metric {name} compares with real images, and card {cell.checkpoint.name!r} has "
                f"none: name a data set on it, as dataset: folder:PATH@SIZE, or leave it out"
            )


def texts(cell: Cell) -> Sequence[str] | None:
    """The prompt of each image of a cell, None where it has none."""
    if cell.checkpoint.source != PIPELINE:
        return None
    prompts = prompt_files.read(prompt_files.place(cell.checkpoint.prompts))
    return [prompts[i % len(prompts)] for i in range(cell.draw.images)]


def refuse(card: Checkpoint, what: str) -> None:
    """Refuse a pipeline where only ordinary networks are taken.

    Raises:
        InputError: the card is one.
    """
    if card.source == PIPELINE:
        raise InputError(f"card {card.name!r} is a pipeline, and {what} takes none yet")
