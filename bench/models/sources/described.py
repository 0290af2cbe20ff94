"""The description in the files of a diffusers folder, before any weight is read.

The network's config, the scheduler's and the decoder's are read and held against each other and
against the card; what none of them says is assumed, and told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.models.sources import (
    fields,
    network_config,
    pipeline_index,
    scheduler_config,
    scheduler_defaults,
)
from bench.models.sources.scheduled import Noise
from bench.system import components

# Scales for a config that states none: SD's pipelines had 0.18215 in their code before their
# decoder's config had it, and LDM's pipeline did not scale.
SCALES = {"AutoencoderKL": 0.18215, "VQModel": 1.0}
# No decoder halves images more often.
BLOCKS = 12
# Variants whose names say a kind of weights; plain weights beside `non_ema` are the average.
VARIANTS = {"ema": "ema", "non_ema": "raw"}


@dataclass(frozen=True)
class Described:
    """The description in the files of a folder, before any weight is read.

    Attributes:
        network_folder: folder of the network.
        name: the name of the class that builds it.
        arguments: the arguments of that class.
        shape: (C, H, W) of x_t.
        noise: the scheduler's.
        averaged: whether the weights are an average by diffusers' EMAModel.
        decoder: (folder, class, arguments) of the decoder.
        image: (C, H, W) of an image.
        assumed: settings that the files do not state, in words.
    """

    network_folder: Path
    name: str
    arguments: Mapping[str, Any]
    shape: tuple[int, int, int]
    noise: Noise
    averaged: bool
    decoder: tuple[Path, str, Mapping[str, Any]] | None
    image: tuple[int, int, int]
    assumed: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes, 0 for an unconditional network."""
        return int(self.arguments.get(_labels(self.name)) or 0)


def _labels(name: str) -> str:
    """The argument of a network that is its number of classes."""
    dit = name == "DiTTransformer2DModel"
    return "num_embeds_ada_norm" if dit else "num_class_embeds"


def positive(value: Any) -> bool:
    """Whether a value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def describe(folder: Path, config: Mapping[str, Any]) -> Described:
    """Read the description in the files of a folder.

    Args:
        folder: the folder of the pipeline, or of one network with its scheduler.
        config: the config of the card.

    Raises:
        InputError: a component, a class or a field that is not understood, or a contradiction.
    """
    parts = pipeline_index.parts(folder)
    component, network_folder = pipeline_index.network(parts, config.get("weights"), folder)
    said = fields.read(network_folder / "config.json")
    label = str(network_folder / "config.json")
    name, arguments = network_config.network(said, label)
    named = parts.classes.get(component, said["_class_name"])
    if named not in (name, said["_class_name"]):
        raise InputError(f"{folder / pipeline_index.INDEX} names a {named}, {label} a {name}")
    noise, stated = _noise(folder, parts, config.get("predicts"))
    size = network_config.sides(arguments["sample_size"], config.get("sample_size"), label)
    if name == "DiTTransformer2DModel":
        if size[0] != size[1]:
            raise InputError(f"{label}: sample_size = {list(size)} where a DiT must be square")
        arguments["sample_size"] = size[0]
    shape = (_count(arguments["in_channels"], "in_channels", label), *size)
    for field in ("out_channels", _labels(name)):
        if arguments[field] is not None:
            _count(arguments[field], field, label)
    _check_embedding(arguments, noise, label)
    learns = learns_variance(arguments)
    told = scheduler_defaults.assumed(
        stated, components.SCHEDULER, config.get("predicts"), parts.decoder is None, learns
    )
    decoding, image, assumed = None, shape, (*told, *_left_out(said, network_folder))
    if parts.decoder:
        decoding, image, more = decoder(parts.decoder, config, shape, parts.classes)
        assumed = (*assumed, *more)
    if others := components.passed_over(folder):
        assumed = (*assumed, f"weights that are no component are passed over, {others}")
    averaged = network_config.averaged(said) or component in components.AVERAGES
    return Described(
        network_folder, name, arguments, shape, noise, averaged, decoding, image, tuple(assumed)
    )


def _check_embedding(arguments: Mapping[str, Any], noise: Noise, label: str) -> None:
    """Refuse a network that embeds other timesteps than those of the scheduler, each by itself."""
    if arguments.get("time_embedding_type") != "learned":
        return
    if not noise.levels.is_schedule:
        raise InputError(
            f"{label}: time_embedding_type = 'learned' embeds whole timesteps, and the scheduler "
            f"has other noise levels ({noise.levels})"
        )
    learned, timesteps = arguments.get("num_train_timesteps"), len(noise.levels)
    if learned != timesteps:
        raise InputError(
            f"{label}: num_train_timesteps = {learned!r} embeds other timesteps than the "
            f"{timesteps} of the scheduler"
        )


def _count(value: Any, name: str, label: str) -> int:
    if type(value) is not int or value < 1:
        raise InputError(f"{label}: {name} must be a positive number, not {value!r}")
    return value


def learns_variance(arguments: Mapping[str, Any]) -> bool:
    """Whether a network of these arguments predicts the variance beside the noise."""
    inputs = arguments["in_channels"]
    return bool((arguments.get("out_channels") or inputs) == 2 * inputs)


def _left_out(said: Mapping[str, Any], place: Path) -> list[str]:
    untold = network_config.untold(said)
    words = f"{fields.words(untold)}: diffusers' defaults, {place.name}/config.json does not say"
    return [words] if untold else []


def _noise(
    folder: Path, parts: pipeline_index.Parts, predicts: str | None
) -> tuple[Noise, Mapping[str, Any]]:
    """The scheduler's noise, and its description."""
    path = components.beside(folder)
    if path is None:
        raise InputError(
            f"{folder} holds no scheduler_config.json, which says what x_t is: save the whole "
            f"pipeline, or put the scheduler's file there"
        )
    said = fields.read(path)
    # The index names the class that loads the file.
    if parts.scheduler:
        said["_class_name"] = parts.scheduler
    return scheduler_config.understand(said, str(path), predicts), said


def decoder(
    network_folder: Path,
    config: Mapping[str, Any],
    shape: tuple[int, ...],
    classes: Mapping[str, str] | None = None,
) -> tuple[tuple[Path, str, Mapping[str, Any]], tuple[int, int, int], tuple[str, ...]]:
    """A decoder of latents: (folder, class, arguments), the shape of its images, and what is
    assumed of it.

    Args:
        network_folder: its folder.
        config: of the card.
        shape: (C, H, W) of the latents.
        classes: of the components of an index, by name.

    Raises:
        InputError: no decoder that is known, one of other latents, or a field that is not
            understood.
    """
    label = str(network_folder / "config.json")
    said = fields.read(network_folder / "config.json")
    name, arguments = network_config.decoder(said, label)
    named = (classes or {}).get(network_folder.name, name)
    if named != name:
        raise InputError(f"{pipeline_index.INDEX} names a {named}, {label} a {name}")
    stated, card = said.get("scaling_factor"), config.get("scaling_factor")
    assumed: tuple[str, ...] = ()
    if "scaling_factor" in said and not positive(stated):
        raise InputError(f"{label}: scaling_factor must be a positive number, not {stated!r}")
    if stated is not None and card is not None and stated != card:
        raise InputError(f"the card says scaling_factor: {card}, {label} says {stated}")
    scale = stated if stated is not None else card
    if scale is None:
        scale = SCALES[name]
        assumed = (
            f"latents are divided by {scale:g}: {network_folder.name}/config.json has no "
            f"scaling_factor (--set scaling_factor=X)",
        )
    assumed = (*assumed, *_left_out({**said, "_class_name": name}, network_folder))
    channels = _count(arguments["out_channels"], "out_channels", label)
    blocks = arguments["block_out_channels"]
    if not isinstance(blocks, list | tuple) or not 1 <= len(blocks) <= BLOCKS:
        raise InputError(f"{label}: block_out_channels must be 1 to {BLOCKS} numbers")
    latents = arguments.get("vq_embed_dim") or arguments["latent_channels"]
    if latents != shape[0]:
        raise InputError(f"{label}: it decodes {latents} channels, the network makes {shape[0]}")
    edge = 2 ** (len(blocks) - 1)
    image = (channels, shape[1] * edge, shape[2] * edge)
    return (network_folder, name, {**arguments, "scaling_factor": float(scale)}), image, assumed


def kind(description: Described, config: Mapping[str, Any]) -> str | None:
    """The kind of weights of a folder: what its files say, or the card.

    Raises:
        InputError: they contradict each other.
    """
    card, variant = (
        config.get("weights"),
        components.choose(description.network_folder, config.get("variant"))[0],
    )
    names = {name for name, _ in components.variants(description.network_folder)}
    stated = "ema" if description.averaged else VARIANTS.get(variant)
    if variant == "" and "non_ema" in names:
        stated = "ema"
    if stated and card not in (None, stated):
        raise InputError(
            f"weights {card} contradicts {description.network_folder}, whose weights are {stated}"
            + (f" (variant {variant})" if variant else "")
        )
    return stated or card
