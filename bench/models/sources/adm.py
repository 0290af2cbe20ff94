"""Source `adm`: networks of guided-diffusion and its kin, mapped onto diffusers' `UNet2DModel`.

OpenAI's ADM (Dhariwal and Nichol 2021) and IDDPM, DDPM-IP, ADM-ES and the flatness paper share one
network and its names. The number of levels and blocks, the widths, attention, the way of changing
the resolution, scale-shift, classes and learned variance show in the names and shapes; a card that
says otherwise is refused. Three flags do not show, and with a wrong one everything loads and the
images are wrong:

    attention_order      a `qkv` row of head h, part p (q, k, v) and channel c is stored at
                         (p, h, c) in the new order and at (h, p, c) in the legacy one;
    heads                `attention_head_dim`, or `heads` of the network where their number is the
                         same at all widths (num_heads of the training);
    rescale_timesteps    whether the network was given 1000 t / T.

`bench.models.sources.telling` determines them for a trained network.

config: as for `bench.models.sources.weights_file`, and `attention_order: new | legacy`. The linear
schedule of T timesteps is ADM's, whose betas are those of 1,000 timesteps times 1000 / T.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.models.networks import USUAL_TIMESTEPS
from bench.models.sources import card_config, telling, weights_file
from bench.models.sources.adm_names import network, rename
from bench.models.sources.heads import Heads, of_network

ORDERS = ("new", "legacy")
FIELDS = (*card_config.FIELDS, "attention_order")
# Loading itself determines the flags of a network that predicts the noise.
ALTERNATIVES = {
    "timesteps": (1000, 4000),
    "attention_order": lambda config: () if _tells(config) else ORDERS,
    "network.unet.attention_head_dim": lambda c: () if _tells(c) else weights_file.near_heads(c),
}


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly.

    Raises:
        InputError: as for `bench.models.sources.weights_file.load`; or names or shapes that are
        not ADM's or
            contradict the card.
    """
    weights_file.check_fields(checkpoint, FIELDS)
    order = checkpoint.config.get("attention_order")
    if order not in ORDERS:
        raise InputError(
            f"card {checkpoint.name!r}, field config: attention_order must be new or legacy "
            f"(use_new_attention_order of the training), not {order!r}"
        )
    return weights_file.build(checkpoint, _rename)


def _tells(config: Mapping[str, Any]) -> bool:
    told = config.get("predicts", card_config.DEFAULTS["predicts"])
    return told == "epsilon" and config.get("levels") is None


def _rename(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    unet = config["network"]["unet"]
    heads = of_network(config["network"])
    described = network(weights, heads, unet.get("sample_size"))
    if config["network"].get("patch", 1) != 1:
        raise InputError("ADM networks have patch 1")
    for name, value in {"num_class_embeds": None, **described["unet"]}.items():
        # Shapes are tuples and YAML has lists: both are compared as tuples.
        said = unet.get(name, _DEFAULTS.get(name))
        if name == "attention_head_dim":
            continue
        if (list(said) if isinstance(said, tuple | list) else said) != value:
            raise InputError(f"the card says {name}: {said}, the weights have {value}")
    renamed = rename(weights, config["attention_order"], heads)
    if config["predicts"] == "epsilon" and config["levels"] is None:
        _check_flags(weights, config, heads)
    return {f"unet.{name}": value for name, value in renamed.items()}


def _check_flags(weights: Mapping[str, Tensor], config: Mapping[str, Any], heads: Heads) -> None:
    """Refuse a card whose flags fit a trained network clearly worse than others near them."""
    start = start_flags(config)
    near = [
        Heads(heads.channels * 2, heads.number * 2),
        Heads(heads.channels // 2, heads.number // 2),
    ]
    choices: dict[str, list[Any]] = {"attention_order": [*ORDERS], "heads": [heads, *near]}
    if config["timesteps"] != USUAL_TIMESTEPS:
        choices["rescale_timesteps"] = [False, True]
    told = telling.tell(start, choices, errors(weights, config))
    if told and told.trained and told.flags != start:
        own = errors(weights, config)(start)
        raise InputError(
            f"the card says {words(start)}, but the weights fit {words(told.flags)}: with these "
            f"the error on noise is {told.error:.2g}"
            + (f" instead of {own:.2g}" if own is not None else "")
        )


def start_flags(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a complete config that do not show in the weights."""
    return {
        "attention_order": config["attention_order"],
        "heads": of_network(config["network"]),
        "rescale_timesteps": config.get("rescale_timesteps", False),
        "timesteps": config["timesteps"],
    }


def words(flags: Mapping[str, Any]) -> str:
    """Flags in words, as a card has them."""
    said = f"attention_order: {flags['attention_order']}, {flags['heads']}"
    if flags["timesteps"] == USUAL_TIMESTEPS:
        return said
    rescaled = str(flags["rescale_timesteps"]).lower()
    return f"{said}, rescale_timesteps: {rescaled} of {flags['timesteps']} timesteps"


def errors(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> telling.Error:
    """The error of weights on noise, for flags as those of `start_flags`.

    Args:
        weights: under ADM's names.
        config: complete, of a card; predicts must be epsilon.
    """

    def error(flags: telling.Flags) -> float | None:
        try:
            renamed = rename(weights, flags["attention_order"], flags["heads"])
        except InputError:
            return None
        model = telling.network(
            flags["heads"].put(config["network"]),
            {f"unet.{name}": value.float() for name, value in renamed.items()},
            flags["timesteps"],
            flags["rescale_timesteps"],
        )
        if model is None:
            return None
        return telling.noise_error(model, config["shape"], flags["timesteps"])

    return error


# Arguments of UNet2DModel that a card may leave out.
_DEFAULTS = {
    "downsample_type": "conv",
    "upsample_type": "conv",
    "resnet_time_scale_shift": "default",
    "attn_norm_num_groups": None,
    "num_class_embeds": None,
}
