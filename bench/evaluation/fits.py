"""The check of a description before numbers are made of it: made once, told, refused or forced.

    card, network, a few real images of its data set -> Fit

A fit is kept in the cache under a key of the checkpoint's content, the data set and the code, so
it costs nothing the second time. Where the real images are not at hand nothing is downloaded and
the check is left out, which is said. What fits clearly better than the card is named; a network
that denoises worse than no network is refused, unless the user or the card forces it.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core import extensions
from bench.core.cell import PIPELINE, Checkpoint
from bench.core.errors import InputError
from bench.core.record import Fit, fit_from_json, to_json
from bench.evaluation import keys
from bench.system import artifacts, store

if TYPE_CHECKING:
    from torch import Tensor

    from bench.core.denoiser import Denoiser
    from bench.models.plausibility import Candidate, Search

FITS, OTHER = "fits", "another fits better"
WORSE, UNKNOWN = "worse than no network", "not checked"
Load = Callable[[], "Denoiser"]


def of(checkpoint: Checkpoint, load: Load) -> Fit:
    """The fit of a checkpoint, from the cache where it is there.

    Args:
        checkpoint: its card, verified.
        load: gives its network; called where something must be computed.

    Raises:
        InputError: it cannot be loaded.
    """
    if checkpoint.source == PIPELINE:
        why = "a pipeline of prompts has no real images that were diffused"
        return Fit(checkpoint.name, description(load()), UNKNOWN, reason=why)
    path = _path(checkpoint)
    if path is not None and (cached := _cached(path)) is not None:
        return replace(cached, checkpoint=checkpoint.name)
    try:
        _load(checkpoint.dataset, 1)
    except InputError as error:
        return _unchecked(checkpoint, load, error)
    from bench.models.plausibility import Search

    denoiser = load()
    try:
        images = real_images(checkpoint.dataset, denoiser)
    except InputError as error:
        return _unchecked(checkpoint, lambda: denoiser, error)
    search = Search(checkpoint, denoiser, images)
    made = judged(search, search.candidates())
    if path is not None:
        artifacts.save_text(path, path.name, to_json(made))
    return made


def _unchecked(checkpoint: Checkpoint, load: Load, error: InputError) -> Fit:
    """What is said of a checkpoint without real images; its description is kept, as what it takes
    to find it out is to load the network."""
    path = store.cache_root() / "fits" / f"{keys.of_fit(checkpoint, UNKNOWN)}.json"
    made = _cached(path)
    if made is None:
        made = Fit(checkpoint.name, description(load()), UNKNOWN)
        artifacts.save_text(path, path.name, to_json(made))
    return replace(made, checkpoint=checkpoint.name, reason=" ".join(str(error).split()))


def judged(search: Search, candidates: Sequence[Candidate]) -> Fit:
    """The fit of a checkpoint, beside the other descriptions that were tried."""
    from bench.models.plausibility import TRIVIAL, clearly_better

    better = clearly_better(search.own, candidates)
    verdict = OTHER if better else FITS
    if search.own.loss >= TRIVIAL:
        verdict = WORSE
    return Fit(
        search.checkpoint.name,
        description(search.denoiser),
        verdict,
        search.own.error,
        search.own.error / search.own.loss,
        len(search.x_0),
        {str(candidate): candidate.loss for candidate in better},
        remedy=_remedy(search.checkpoint, str(better[0])) if better else "",
    )


def real_images(dataset: str, denoiser: Denoiser) -> Tensor:
    """A few images of a data set as the x_0 of a network, always the same ones.

    Raises:
        InputError: they are not at hand, of another shape, or cannot be encoded.
    """
    import torch

    from bench.core.denoiser import to_model_range
    from bench.measurement.real import image_shape
    from bench.models.plausibility import images_for, latents
    from bench.system.random import seeded

    shape = image_shape(denoiser)
    count = images_for(shape)
    images = _load(dataset, count)
    if tuple(images.shape[1:]) != shape:
        raise InputError(
            f"images of {dataset} have shape {list(images.shape[1:])}, the network's {list(shape)}"
        )
    order = torch.randperm(len(images), generator=seeded("plausibility", "images"))
    return latents(denoiser, to_model_range(images[order[:count]]))


def _load(dataset: str, count: int) -> Tensor:
    """At least `count` images where there are so many, those of the test split if it has any."""
    load = extensions.lookup("datasets", dataset)
    # A folder's images are decoded only as far as they are looked at.
    sparing = {"most": count} if "most" in inspect.signature(load).parameters else {}
    try:
        images: Tensor = load("test", **sparing)
    except InputError as error:
        try:
            images = load("train", **sparing)
        except InputError:
            raise error from None
    return images


def description(denoiser: Denoiser) -> dict[str, str]:
    """What is taken for the description of a checkpoint, in words, by topic."""
    # A source may know better than the network tells.
    said = denoiser.description
    schedule = said.get("schedule") or _schedule(denoiser)
    bounds = "clamped to [-1, 1]" if denoiser.clips else "not clamped"
    return {
        "prediction": denoiser.predicts,
        "predicted x_0": bounds,
        **said,
        "schedule": f"{schedule}, {denoiser.levels}",
    }


def _schedule(denoiser: Denoiser) -> str:
    """The noise levels of a denoiser in words, by the name of the schedule where they have one."""
    from bench.models.plausibility import ALIKE
    from bench.models.schedules import SCHEDULES, alpha_bar

    if not denoiser.levels.is_schedule:
        return "noise levels of its own"
    own = denoiser.levels.alpha_bar
    alike = (
        name for name in SCHEDULES if float((alpha_bar(name, len(own)) - own).abs().max()) <= ALIKE
    )
    return f"{next(alike, 'one of its own')}, {len(own)} timesteps"


def tell(fits: Iterable[Fit], cards: Sequence[Checkpoint]) -> list[str]:
    """What there is to say of fits, a line each, nothing of those that fit."""
    by_name = {card.name: card for card in cards}
    lines, unknown = [], dict[str, list[str]]()
    for fit in fits:
        if fit.verdict == UNKNOWN:
            unknown.setdefault(fit.reason, []).append(fit.checkpoint)
        elif fit.verdict != FITS:
            lines.append(_line(fit, by_name[fit.checkpoint]))
    lines += [
        f"{', '.join(names)}: not checked whether the description fits the weights ({reason})"
        for reason, names in unknown.items()
    ]
    return lines


def require(fits: Iterable[Fit], cards: Sequence[Checkpoint], force: bool) -> None:
    """Refuse checkpoints that denoise worse than no network.

    Args:
        fits: of the checkpoints.
        cards: theirs; a card may force it too.
        force: whether the user does.

    Raises:
        InputError: there is one that nobody forces.
    """
    by_name = {card.name: card for card in cards}
    for fit in fits:
        if fit.verdict == WORSE and not (force or by_name[fit.checkpoint].force):
            raise InputError(
                f"card {_line(fit, by_name[fit.checkpoint])}; to measure it all the same say "
                f"--force, or `force: true` on the card"
            )


def _line(fit: Fit, card: Checkpoint) -> str:
    dataset, ratio = card.dataset, fit.ratio or 0.0
    own = (
        f"its denoising loss on {fit.images} images of {dataset} is {ratio:.2f}, where a network "
        f"that only scales its input has 1"
    )
    parts = [f"{fit.checkpoint!r}: {own}"]
    if fit.verdict == WORSE:
        parts = [f"{fit.checkpoint!r} denoises worse than no network: {own}"]
    if fit.better:
        told = " or ".join(f"{what} ({loss:.2f})" for what, loss in fit.better.items())
        parts.append(f"clearly better fits {told}: {fit.remedy}")
    elif fit.verdict == WORSE:
        parts.append(
            "nothing that bench knows fits: it is not trained, of another data set, or of another "
            "schedule, prediction or network"
        )
    return "; ".join(parts)


def _remedy(card: Checkpoint, what: str) -> str:
    """Where the description is put right."""
    from bench.models.sources.noise import FILE

    source = extensions.lookup("sources", card.source)
    known = getattr(sys.modules[source.__module__], "FIELDS", ())
    words = [change.split(" ") for change in what.split(", ")]
    described = set[str]()
    if card.config.get("schedule") == FILE:
        described = {"schedule", "timesteps"}
    if card.config.get("scheduler"):
        described = {"schedule", "timesteps", "predicts"}
    if not all(path.split(".")[0] in set(known) - described for path, _ in words):
        return "the checkpoint's own files say otherwise: look whether they belong together"
    flags = " ".join(f"--set {path.rpartition('.')[2]}={value}" for path, value in words)
    fields = ", ".join(f"{path}: {value}" for path, value in words)
    return f"write `{fields}` under config of the card, or import it with {flags}"


def _path(checkpoint: Checkpoint) -> Path | None:
    """Where a fit is kept; None where the images that decide it cannot be had."""
    content = ""
    if extensions.plain(checkpoint.dataset) != checkpoint.dataset:
        # The name of a folder does not tell what lies in it.
        try:
            content = hashlib.sha256(_load(checkpoint.dataset, 1).numpy().tobytes()).hexdigest()
        except InputError:
            return None
    key = keys.of_fit(checkpoint, content)
    return store.cache_root() / "fits" / f"{key}.json"


def _cached(path: Path) -> Fit | None:
    """A kept fit; None where there is none or it is not as it was written."""
    text = artifacts.load_text(path, path.name)
    return None if text is None else fit_from_json(text)
