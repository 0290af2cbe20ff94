"""Sources `safetensors` and `torch`: one file of weights; the card's `config` has the network.

`torch` reads the pickles of `torch.save`, weights only. Both know what training code puts around
the weights (`bench.models.sources.state_dicts`).

config:
    network: {patch, unet}     see `bench.models.networks.build_network`
    shape: [C, H, W]           of an image
    schedule: cosine | linear | scaled_linear | sigmoid, as diffusers defines them, or file:
                               betas that lie beside the weights
    timesteps: 1000
    rescale_timesteps: false   true for a network that was given 1000 t / T
    predicts: epsilon | v_prediction | sample; edm, flow_prediction, velocity of other levels
    scheduler: {...}           a scheduler_config.json of diffusers, in place of schedule,
                               timesteps, predicts and variance
    levels: {kind: ...}        noise levels of another kind (`bench.models.sources.said_levels`)
    null_class: 10             the label that stands for no class, which is never drawn
    learns_variance: false     true for 2C outputs, the last C for the variance
    variance: fixed_small | fixed_large
    weights: raw | ema | swa   of a file that holds several, and of an average
    part: NAME                 of a file that holds several of one kind
    stored: float32 | float16 | bfloat16 | float64 | mixed
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError, offer
from bench.models.networks import build_network, check_network
from bench.models.sources import network_config, said_levels, scheduler_defaults, unet_shapes
from bench.models.sources import noise as noises
from bench.models.sources import state_dicts as files
from bench.models.sources.card_config import (
    CHOICES,
    FIELDS,
    check_told,
    complete,
    drawn_classes,
)
from bench.models.sources.filling import fill, named
from bench.models.sources.scheduled import Noise

# Values of the fields that neither names nor shapes show: the check of descriptions compares
# the card's values with these.
ALTERNATIVES: Mapping[str, Any] = {
    "timesteps": (1000, 4000),
    "network.unet.norm_num_groups": unet_shapes.OPEN["norm_num_groups"],
    "network.unet.attention_head_dim": lambda config: near_heads(config),
    "network.unet.flip_sin_to_cos": (True, False),
    "network.unet.freq_shift": (0, 1),
    "network.unet.downsample_padding": unet_shapes.OPEN["downsample_padding"],
}

Rename = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Mapping[str, Tensor]]


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly: every weight present, none left over, all finite.

    Raises:
        InputError: the file is truncated, no safetensors or state dict, the weights do not fit
            the network, or the config is incomplete.
    """
    check_fields(checkpoint, FIELDS)
    return build(checkpoint, lambda weights, config: unet_shapes.renamed(weights))


def check_fields(checkpoint: Checkpoint, known: Collection[str]) -> None:
    """Refuse a field of the card's config that its source does not read.

    Raises:
        InputError: there is one; the message offers near ones.
    """
    for name in checkpoint.config:
        if name not in known:
            raise InputError(
                f"card {checkpoint.name!r}, field config: unknown field {name} of source "
                f"{checkpoint.source}; {offer(str(name), known)}"
            )


def near_heads(config: Mapping[str, Any]) -> list[int]:
    """Half and twice the channels of an attention head."""
    head = config["network"]["unet"].get("attention_head_dim")
    return [2 * head, head // 2] if type(head) is int and head > 1 else []


def build(checkpoint: Checkpoint, rename: Rename) -> Denoiser:
    """Load a checkpoint whose weights get the names of the network from `rename`.

    Args:
        checkpoint: its card.
        rename: (weights of the file, complete config) -> weights under the network's names.
    """
    label, config = f"card {checkpoint.name!r}", complete(checkpoint)
    path = Path(checkpoint.uri)
    try:
        content = files.read(path)
        part = files.choose(content, config["weights"], config["part"])
        files.check_tensors(part.tensors, path)
        noise = noises.of(config, content, part, checkpoint.source)
    except (InputError, OSError) as error:
        raise InputError(f"{label}: {error}") from None
    timesteps = len(noise.levels)
    config |= {"timesteps": timesteps, "predicts": noise.predicts}
    try:
        classes = drawn_classes(config["network"].get("unet"), config["null_class"])
        check_told(config, noise)
        if isinstance(unet := config["network"].get("unet"), Mapping):
            network_config.check_unet(unet)
        model = build_network(config["network"], timesteps, config["rescale_timesteps"])
        model.eval().requires_grad_(False)
        check_network(model, config["shape"], config["learns_variance"])
    except InputError as error:
        raise InputError(f"{label}, field config: {error}") from None
    try:
        weights = named(model, part.tensors) if part.ordered else rename(part.tensors, config)
        fill(model, weights, config["stored"])
    except InputError as error:
        raise InputError(f"{label}: {error}") from None
    return described(model, config, noise, assumed(checkpoint.config, config), classes)


def assumed(said: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What a card leaves to defaults, of the noise and the prediction."""
    learns = config["learns_variance"]
    if config["scheduler"] is not None:
        label, predicts = "the card's scheduler", said.get("predicts")
        return scheduler_defaults.assumed(config["scheduler"], label, predicts, True, learns)
    names = ["schedule", "timesteps", "predicts"]
    if not said_levels.is_fractional(config["levels"]):
        names.remove("schedule")
    return [f"{name} {config[name]}: the card does not say" for name in names if name not in said]


def described(
    model: nn.Module, config: Mapping[str, Any], noise: Noise, assumed: list[str], classes: int
) -> Denoiser:
    """A network with its noise and what the card says of it.

    Args:
        model: called with images and timesteps, or codes where there are classes.
        config: complete.
        noise: its schedule and prediction.
        assumed: what nobody told, in words.
        classes: their number, 0 for none.
    """
    variance = noise.variance or "fixed_small"
    variance = variance if variance in CHOICES["variance"] else "fixed_small"
    clips = noise.clips is not False
    rescaled = ", seen by the network as 1000 t / T" if config["rescale_timesteps"] else ""
    return Denoiser(
        model=model,
        levels=noise.levels,
        predicts=noise.predicts,
        shape=tuple(config["shape"]),
        learns_variance=config["learns_variance"],
        variance=variance,
        classes=classes,
        null_label=config["null_class"],
        sigma_data=noise.sigma_data,
        clips=clips,
        clip_range=noise.clip_range,
        thresholds=noise.thresholds,
        description={
            "schedule": noise.schedule + rescaled,
            "prediction": noise.predicts,
            "predicted x_0": noise.bounds(clips),
            "variance": "learned" if config["learns_variance"] else variance,
            **({"assumed": "; ".join(assumed)} if assumed else {}),
        },
    )
