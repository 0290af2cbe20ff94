"""Networks of other authors, read out of their weights: what `edm`, `edm2` and `sit` share.

Such a network is built of the names and shapes in its state dict alone, so a card says only what
neither shows. Each of these sources is a module with an `AUTHOR`: what reads the weights, the
fields that they leave open, and the noise levels of the authors' training.

config: schedule, timesteps, predicts, scheduler, levels, null_class, variance, weights, part,
stored as for `bench.models.sources.weights_file`, and the fields of the author.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from bench.core import extensions
from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.models import card_decoders
from bench.models.networks import CodedNetwork, check_network
from bench.models.sources import (
    card_config,
    contents,
    latents,
    scheduler_config,
    sketch,
    weights_file,
)
from bench.models.sources import noise as noises
from bench.models.sources import state_dicts as files
from bench.models.sources.filling import check_stored, fill

# What the weights tell, or the function of a user or a folder of diffusers alone has.
_TOLD = ("network", "shape", "rescale_timesteps", "learns_variance")
SHARED = (*(name for name in card_config.FIELDS if name not in _TOLD), *latents.FIELDS)
# Fields of which one says at which noise levels a network was trained.
NOISE = ("levels", "schedule", "scheduler")


@dataclass(frozen=True)
class Network:
    """A network as its weights tell it.

    Attributes:
        module: with fresh weights; called as (x, told), with classes as (x, told, labels).
        weights: its own, under its names, in any precision.
        shape: (C, H, W) of an image.
        outputs: channels that it gives, C or 2C.
        title: what it is, in words.
        classes: that images are drawn of, 0 for none.
        null_label: the label that stands for no class, where it was trained with one.
    """

    module: nn.Module
    weights: Mapping[str, Tensor]
    shape: tuple[int, int, int]
    outputs: int
    title: str
    classes: int = 0
    null_label: int | None = None


@dataclass(frozen=True)
class Author:
    """Attributes:
    title: whose networks these are.
    read: the network of (weights, fields of the card).
    fields: of the card, each with what it must be.
    levels: of the training; None where the weights do not tell it and somebody must.
    asks: what to say where nobody did.
    decoder: of latents, from its network and their scale; that of diffusers' pipelines.
    """

    title: str
    read: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Network]
    fields: Mapping[str, str]
    levels: Mapping[str, Any] | None = None
    asks: str = ""
    decoder: latents.Made = latents.Decoder


def author(source: str) -> Author:
    """The author of a source of this kind."""
    module = sys.modules[extensions.lookup("sources", source).__module__]
    return cast("Author", module.AUTHOR)


def load(checkpoint: Checkpoint, author: Author) -> Denoiser:
    """Load a checkpoint strictly: every weight present, none left over, all finite.

    Raises:
        InputError: the file is none, the weights are those of another network, or the card says
            what it cannot, or too little.
    """
    weights_file.check_fields(checkpoint, (*SHARED, *author.fields))
    label, path = f"card {checkpoint.name!r}", Path(checkpoint.uri)
    try:
        config, own = _complete(checkpoint, author)
        content = files.read(path)
        part = files.choose(content, config["weights"], config["part"])
        files.check_tensors(floats(part.tensors), path)
        noise = noises.of(config, content, part, checkpoint.source)
        check_stored(part.tensors, config["stored"])
        made = author.read(part.tensors, own)
        decode = _decoder(checkpoint, made, author)
        config |= {"timesteps": len(noise.levels), "predicts": noise.predicts}
        config |= {"shape": list(made.shape), "null_class": _null(config["null_class"], made)}
        config["learns_variance"] = noise.levels.is_schedule and made.outputs > made.shape[0]
        model = _filled(made, config)
        check_network(model, made.shape, config["learns_variance"])
    except (InputError, OSError) as error:
        text = str(error)
        raise InputError(text if text.startswith(label) else f"{label}: {text}") from None
    told = weights_file.assumed(checkpoint.config, config)
    # Latents have no bounds.
    noise = replace(noise, clips=False) if decode else noise
    denoiser = weights_file.described(model, config, noise, told, made.classes)
    description = {"network": made.title, **denoiser.description}
    if decode:
        description["decoder"] = f"{checkpoint.config['decoder']['folder']}, in full precision"
    return replace(denoiser, description=description, decode=decode)


def draft(
    card: sketch.Sketch, source: str, content: files.Weights, part: files.Part
) -> tuple[int, int, int]:
    """Put what a file tells, and what the user says of it, into the draft of its card.

    Args:
        card: whose weights are those of the part.
        source: of this kind.
        content, part: as for `bench.models.sources.sketch.schedule`.

    Returns:
        (C, H, W) of an image.

    Raises:
        InputError: a setting that these networks do not have, or one that is missing.
    """
    who = author(source)
    for name in card.given:
        if name not in (*SHARED, *who.fields):
            raise InputError(f"--set {name}: the weights of {who.title} tell it, or have none")
    if not set(NOISE) & set(card.given) and not scheduler_config.beside(card.path):
        levels = _usual_levels(who, "--set ")
        card.given = {**card.given, "levels": levels}
        card.assumed.append(f"levels {levels['kind']}, those of {who.title} (--set levels=...)")
    own = {name: card.given[name] for name in who.fields if name in card.given}
    made = who.read(card.weights, own)
    card.assumed.append(f"the network is {made.title}")
    image = _drafted_decoder(card, made, who)
    # Which the weights tell, and no card has.
    card.config["learns_variance"] = made.outputs > made.shape[0]
    sketch.schedule(card, content, part)
    del card.config["learns_variance"]
    card.config |= own
    return image


def _drafted_decoder(card: sketch.Sketch, made: Network, who: Author) -> tuple[int, int, int]:
    """Put the decoder that the user names on the card; the shape of an image."""
    said = {name: card.given[name] for name in latents.FIELDS if name in card.given}
    if not _has_decoder(said, made, who):
        return made.shape
    said["decoder"] = card_decoders.drafted(card.path, said["decoder"])
    card.config |= said
    image, assumed = latents.shape_of(card.path, said, made.shape)
    # A scale of the authors' own is not assumed.
    scaled = who.decoder is latents.Decoder
    card.assumed += [text for text in assumed if scaled or "scaling_factor" not in text]
    return image


def _decoder(checkpoint: Checkpoint, made: Network, who: Author) -> latents.Decoder | None:
    """The decoder of the card, where the network is one of latents.

    Raises:
        InputError: as for `latents.decoder`; or there is none and there must be.
    """
    if not _has_decoder(checkpoint.config, made, who):
        return None
    return latents.decoder(Path(checkpoint.uri), checkpoint.config, made.shape, who.decoder)


def _has_decoder(said: Mapping[str, Any], made: Network, who: Author) -> bool:
    """Whether a decoder is named.

    Raises:
        InputError: none is, of latents; or a scale is named that is not used.
    """
    if "decoder" in said and (who.decoder is latents.Decoder or "scaling_factor" not in said):
        return True
    if "scaling_factor" in said:
        raise InputError(f"scaling_factor: {made.title}, has no decoder whose scale is open")
    if made.shape[0] not in sketch.IMAGES:
        raise InputError(
            f"{made.title}, takes {made.shape[0]} channels, which are no images but latents of an "
            f"autoencoder: lay the folder of its decoder beside the weights, and name it "
            f"(--set decoder=vae)"
        )
    return False


def _usual_levels(who: Author, prefix: str) -> Mapping[str, Any]:
    if who.levels is None:
        raise InputError(who.asks.format(set=prefix))
    return dict(who.levels)


def floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that are no whole numbers."""
    return {name: value for name, value in tensors.items() if value.is_floating_point()}


def _complete(checkpoint: Checkpoint, who: Author) -> tuple[dict[str, Any], dict[str, Any]]:
    """The card's config with the defaults, and the author's fields in it."""
    said = dict(checkpoint.config)
    own = {name: said.pop(name) for name in who.fields if name in said}
    said = {name: value for name, value in said.items() if name not in latents.FIELDS}
    for name, value in own.items():
        if type(value) is not int or value < 1:
            raise InputError(f"field config: {name} must be {who.fields[name]}, not {value!r}")
    if not any(said.get(name) is not None for name in NOISE):
        said["levels"] = _usual_levels(who, "field config: ")
    blank = {"network": {}, "shape": [1, 1, 1]}
    return card_config.complete(replace(checkpoint, config={**said, **blank})), own


def _null(said: int | None, made: Network) -> int | None:
    """The null label: the network's own, or that behind its classes, where the card says so.

    Raises:
        InputError: another label.
    """
    if said is None or said == made.null_label:
        return made.null_label
    if not made.classes or said != made.classes:
        raise InputError(
            f"null_class {said}: of {made.title} it can be {made.classes} alone, behind the "
            f"classes"
            if made.classes
            else f"null_class {said}: {made.title} has no classes"
        )
    return said


def _filled(made: Network, config: Mapping[str, Any]) -> nn.Module:
    fill(made.module, made.weights, "mixed")
    module = made.module.float().eval().requires_grad_(False)
    if made.outputs > made.shape[0] and not config["learns_variance"]:
        module = First(module, made.shape[0])
    model = CodedNetwork(module, None, made.classes, config["timesteps"], made.title)
    return model.eval()


class First(nn.Module):
    """The first channels of what a network gives; the others are of no use to the training."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate, and cut (B, C', H, W) to (B, C, H, W)."""
        made: Tensor = self.network(*inputs)[:, : self.channels]
        return made


def source_of(weights: Mapping[str, Tensor]) -> str:
    """The source of this kind whose names these are, "" for none."""
    for source, pair in contents.AUTHORS.items():
        for prefix in ("", "unet."):
            if all(f"{prefix}{name}" in weights for name in pair):
                return source
    return ""
