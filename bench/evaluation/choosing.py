"""What no file tells of a checkpoint: chosen by what fits its weights best, and said.

The fields that a draft assumes are tried one after the other: of all descriptions that differ in
them, the one with the least denoising loss on real images (`bench.models.plausibility`) is taken
where it fits clearly better, and the next field is looked at from there. What was chosen, and what
could not be decided, stands on the card with its numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.core import extensions
from bench.core.cell import Checkpoint, Draw
from bench.core.errors import InputError
from bench.core.record import Fit
from bench.evaluation import fits

if TYPE_CHECKING:
    from bench.core.denoiser import Denoiser
    from bench.models.plausibility import Candidate, Search

# Each round but the last settles at least one field.
ROUNDS = 5
# The grid of samples: steps of DDIM, and seconds that it may take.
STEPS, SECONDS = 20, 120.0


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        checkpoint: with the config that fits.
        denoiser: loaded from it.
        said: for each field that was open, what is known of its value now.
        fit: of the checkpoint.
    """

    checkpoint: Checkpoint
    denoiser: Denoiser
    said: dict[str, str]
    fit: Fit


def choose(checkpoint: Checkpoint, denoiser: Denoiser, fields: Collection[str]) -> Choice:
    """The description that fits best, of those that differ from the card's in open fields.

    Args:
        checkpoint: its card, verified.
        denoiser: loaded from it.
        fields: of the config, that nobody told; nested ones by their last name.
    """
    from bench.models.plausibility import Search, changed, clearly_better

    try:
        x_0 = fits.real_images(checkpoint.dataset, denoiser)
    except InputError:
        # `fits.of` says why.
        return Choice(checkpoint, denoiser, {}, fits.of(checkpoint, lambda: denoiser))
    for left in reversed(range(ROUNDS)):
        search = Search(checkpoint, denoiser, x_0)
        candidates = search.candidates()
        own = [c for c in candidates if {_last(path) for path in c.changes} <= set(fields)]
        better = clearly_better(search.own, own)
        if not better or not left:
            break
        config = changed(checkpoint.config, better[0].changes)
        checkpoint = replace(checkpoint, config=config)
        denoiser = extensions.lookup("sources", checkpoint.source)(checkpoint)
    said = {name: _said(name, search, candidates) for name in fields}
    fit = fits.judged(search, candidates)
    return Choice(checkpoint, denoiser, {k: v for k, v in said.items() if v}, fit)


def _said(name: str, search: Search, candidates: Sequence[Candidate]) -> str:
    """How a field was decided, or that it was not; "" where there was nothing to compare with."""
    from bench.models.plausibility import CLEAR

    rivals = [c for c in candidates if [_last(path) for path in c.changes] == [name]]
    if not rivals:
        return ""
    rival = min(rivals, key=lambda candidate: candidate.loss)
    ((_, value),) = rival.changes.items()
    numbers = f"{search.own.loss:.2f}, with {str(value).lower()} {rival.loss:.2f}"
    decided = "" if rival.loss >= CLEAR * search.own.loss else "not decided "
    return f"{decided}by the denoising loss on {search.checkpoint.dataset} ({numbers})"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def samples(denoiser: Denoiser) -> np.ndarray | None:
    """A square grid of samples, uint8 (n H, n W, C): 16 of them, fewer where that takes long; None
    where one alone would."""
    import time

    import torch

    from bench.models.samplers.ddim import ddim
    from bench.models.samplers.drawing import images
    from bench.models.samplers.noise import image_generators

    start = time.monotonic()
    with torch.inference_mode():
        denoiser.model(*denoiser.example_inputs(1))
    steps = min(STEPS, len(denoiser.levels))
    seconds = (time.monotonic() - start) * steps
    side = next((n for n in (4, 3, 2, 1) if n * n * seconds <= SECONDS), 0)
    if not side:
        return None
    draw = Draw(steps=steps, images=side * side, batch=side * side)
    generators = image_generators("images", draw.seed, range(side * side))
    sampled = images(denoiser, ddim, generators, draw).permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(row), axis=1) for row in np.split(sampled, side)]
    return np.concatenate(rows)
