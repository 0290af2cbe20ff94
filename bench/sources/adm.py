"""Source `adm`: networks of guided-diffusion and its kin, mapped onto diffusers' `UNet2DModel`.

OpenAI's ADM (Dhariwal and Nichol 2021) and IDDPM, DDPM-IP, ADM-ES and the flatness paper share one
network and its names. The number of levels and blocks, the widths, attention, the way of changing
the resolution, scale-shift, classes and learned variance show in the names and shapes; a card that
says otherwise is refused. Two flags do not show, and with a wrong one everything loads and the
images are wrong:

    attention_order    a `qkv` row of head h, part p (q, k, v) and channel c is stored at
                       (p, h, c) in the new order and at (h, p, c) in the legacy one;
    head channels      `attention_head_dim`.

`errors` finds them out in a trained network: at the last timestep x_T is noise alone, eps = x_T,
and the other flags give a larger error. An untrained network tells nothing.

config: as for `bench.sources.local`, and `attention_order: new | legacy`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import InputError
from bench.networks import build_network, seeded
from bench.protocols import Denoiser
from bench.sources import local
from bench.sources.filling import fill
from bench.spec import Checkpoint

ORDERS = ("new", "legacy")
FIELDS = (*local.FIELDS, "attention_order")
# Loading itself finds out the flags of a network that predicts the noise.
ALTERNATIVES = {
    "timesteps": (1000, 4000),
    "attention_order": lambda config: () if _tells(config) else ORDERS,
    "network.unet.attention_head_dim": lambda c: () if _tells(c) else local.near_heads(c),
}
STEMS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "label_emb": "class_embedding",
}
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
_MODULE = re.compile(
    r"(input_blocks|middle_block|output_blocks)\.(\d+)(?:\.(\d+))?\.((?:[a-z]\w*)(?:\.\d+)?)"
)
# A larger error is no sign of training; by less than this ratio flags are not told apart.
TRAINED, BETTER = 0.5, 0.9


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly.

    Raises:
        InputError: as for `bench.sources.local.load`; or names or shapes that are not ADM's or
            contradict the card.
    """
    local.check_fields(checkpoint, FIELDS)
    order = checkpoint.config.get("attention_order")
    if order not in ORDERS:
        raise InputError(
            f"card {checkpoint.name!r}, field config: attention_order must be new or legacy "
            f"(use_new_attention_order of the training), not {order!r}"
        )
    return local.build(checkpoint, _rename)


def _tells(config: Mapping[str, Any]) -> bool:
    return config.get("predicts", local.DEFAULTS["predicts"]) == "epsilon"


def _rename(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    unet = config["network"]["unet"]
    head = unet.get("attention_head_dim", 8)
    found = network(weights, head, unet.get("sample_size"))
    if config["network"].get("patch", 1) != 1:
        raise InputError("ADM networks have patch 1")
    for name, value in {"num_class_embeds": None, **found["unet"]}.items():
        # A tuple of a shape and a list of YAML are equal here.
        said = unet.get(name, _DEFAULTS.get(name))
        if (list(said) if isinstance(said, tuple | list) else said) != value:
            raise InputError(f"the card says {name}: {said}, the weights have {value}")
    renamed = rename(weights, config["attention_order"], head)
    if config["predicts"] == "epsilon":
        candidates = errors(weights, config, config["stored"])
        if fitting := better(candidates):
            said = next(iter(candidates))
            raise InputError(
                f"the card says attention_order: {said[0]} and attention_head_dim: {said[1]}, but "
                f"the weights fit {fitting[0]} and {fitting[1]}: with these the error on noise is "
                f"{candidates[fitting]:.2g} instead of {candidates[said]:.2g}"
            )
    return {f"unet.{name}": value for name, value in renamed.items()}


# Those of UNet2DModel that a card may leave out.
_DEFAULTS = {
    "downsample_type": "conv",
    "upsample_type": "conv",
    "resnet_time_scale_shift": "default",
    "attn_norm_num_groups": None,
    "num_class_embeds": None,
}


def is_adm(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of an ADM network."""
    return {"input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"} <= set(weights)


def network(weights: Mapping[str, Tensor], head: int, size: int | None) -> dict[str, Any]:
    """The network of weights, as `bench.networks.build_network` takes it.

    Args:
        weights: under ADM's names.
        head: channels of an attention head, which the weights do not tell.
        size: edge of an image in pixels, which they do not tell either.

    Raises:
        InputError: the names are not those of an ADM network.
    """
    if not is_adm(weights):
        raise InputError("these are not the weights of an ADM network (no input_blocks, out)")
    levels, blocks = _levels(weights)
    if not head or head < 1:
        raise InputError(f"attention_head_dim must be a positive number, not {head!r}")
    firsts = [1 + level * (blocks + 1) for level in range(levels)]
    try:
        widths = [len(weights[f"input_blocks.{k}.0.out_layers.3.weight"]) for k in firsts]
        embedding = len(weights["input_blocks.1.0.emb_layers.1.weight"])
    except KeyError as error:
        raise InputError(f"these are not the weights of an ADM network (no {error})") from None
    attention = [f"input_blocks.{k}.1.qkv.weight" in weights for k in firsts]
    resnet = f"input_blocks.{blocks + 1}.0.in_layers.0.weight" in weights and levels > 1
    down = ["AttnDownBlock2D" if a else _plain("Down", resnet) for a in attention]
    up = ["AttnUpBlock2D" if a else _plain("Up", resnet) for a in reversed(attention)]
    unet: dict[str, Any] = {
        "sample_size": size,
        "in_channels": weights["input_blocks.0.0.weight"].shape[1],
        "out_channels": len(weights["out.2.weight"]),
        "layers_per_block": blocks,
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": up,
        "attention_head_dim": head,
        "attn_norm_num_groups": 32,
        "downsample_type": "resnet" if resnet else "conv",
        "upsample_type": "resnet" if resnet else "conv",
        "resnet_time_scale_shift": "scale_shift" if embedding == 2 * widths[0] else "default",
    }
    if "label_emb.weight" in weights:
        unet["num_class_embeds"] = len(weights["label_emb.weight"])
    return {"patch": 1, "unet": unet}


def _plain(direction: str, resnet: bool) -> str:
    return f"Resnet{direction}sampleBlock2D" if resnet else f"{direction}Block2D"


def _levels(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """(levels, residual blocks a level): the decoder grows once less than there are levels."""
    places: dict[int, set[str]] = {}
    for name in weights:
        match = _MODULE.fullmatch(name.rpartition(".")[0])
        if match and match[1] == "output_blocks":
            places.setdefault(int(match[2]), set()).add(f"{match[3]}.{match[4]}")
    grows = [
        k
        for k, names in places.items()
        if names & {"1.conv", "2.conv", "1.in_layers.0", "2.in_layers.0"}
    ]
    levels = len(grows) + 1
    if not places or len(places) % levels:
        raise InputError("these are not the weights of an ADM network (uneven output_blocks)")
    return levels, len(places) // levels - 1


def rename(weights: Mapping[str, Tensor], order: str, head: int) -> dict[str, Tensor]:
    """Weights under the names of `UNet2DModel`.

    Args:
        weights: under ADM's names.
        order: "new" or "legacy", of q, k and v.
        head: channels of an attention head, for the legacy order.

    Raises:
        InputError: a name that no ADM network has, or heads that do not divide the channels.
    """
    levels, blocks = _levels(weights)
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        stem, _, kind = name.rpartition(".")
        if stem in STEMS:
            renamed[f"{STEMS[stem]}.{kind}"] = value
            continue
        place, rest = _place(stem, levels, blocks)
        if rest == "qkv":
            for letter, part in zip("qkv", split_qkv(value, order, head), strict=True):
                renamed[f"{place}.to_{letter}.{kind}"] = part
        elif "attentions" in place and rest in ATTENTION:
            flat = value.flatten(1) if value.ndim == 3 else value
            renamed[f"{place}.{ATTENTION[rest]}.{kind}"] = flat
        elif rest in ("op", "conv"):
            renamed[f"{place}.conv.{kind}"] = value
        elif rest in RESIDUAL:
            renamed[f"{place}.{RESIDUAL[rest]}.{kind}"] = value
        else:
            raise InputError(f"weight {name} is not of an ADM network")
    return renamed


def _place(stem: str, levels: int, blocks: int) -> tuple[str, str]:
    """The module of UNet2DModel that a module belongs to, and the rest of its name."""
    match = _MODULE.fullmatch(stem)
    if match is None:
        raise InputError(f"weight {stem} is not of an ADM network")
    side, first, second, rest = match[1], int(match[2]), match[3], match[4]
    if side == "middle_block":
        kind = "attentions.0" if first == 1 else f"resnets.{first // 2}"
        return f"mid_block.{kind}", rest if second is None else f"{second}.{rest}"
    part = int(second or 0)
    if side == "input_blocks":
        level, index = divmod(first - 1, blocks + 1)
        if index == blocks and level < levels - 1:
            return f"down_blocks.{level}.downsamplers.0", rest
        return f"down_blocks.{level}.{'attentions' if part else 'resnets'}.{index}", rest
    level, index = divmod(first, blocks + 1)
    if part and (rest == "conv" or rest in RESIDUAL):
        return f"up_blocks.{level}.upsamplers.0", rest
    return f"up_blocks.{level}.{'attentions' if part else 'resnets'}.{index}", rest


def split_qkv(value: Tensor, order: str, head: int) -> tuple[Tensor, ...]:
    """q, k and v, (C, C) or (C,) each, of a `qkv` weight (3C, C, 1) or bias (3C,)."""
    flat = value.flatten(1) if value.ndim == 3 else value
    channels = len(flat) // 3
    if channels % head:
        raise InputError(f"attention_head_dim {head} does not divide {channels} channels")
    if order == "legacy":
        flat = flat.unflatten(0, (channels // head, 3, head)).transpose(0, 1).flatten(0, 2)
    return flat.chunk(3)


def errors(
    weights: Mapping[str, Tensor], config: Mapping[str, Any], stored: str = "float32"
) -> dict[tuple[str, int], float]:
    """Error of the noise at the last timestep by (attention order, head channels).

    That of the config comes first, then those that differ from it in one of the two.

    Args:
        weights: under ADM's names.
        config: complete, of a card; predicts must be epsilon.
        stored: precision of the weights.
    """
    order, head = config["attention_order"], config["network"]["unet"].get("attention_head_dim", 8)
    other = ORDERS[1 - ORDERS.index(order)]
    found = {}
    for candidate in ((order, head), (other, head), (order, 2 * head), (order, head // 2)):
        unet = {**config["network"]["unet"], "attention_head_dim": candidate[1]}
        try:
            renamed = rename(weights, *candidate)
            model = build_network({"patch": 1, "unet": unet}, config["timesteps"])
        except InputError:
            continue
        fill(model.eval(), {f"unet.{name}": value for name, value in renamed.items()}, stored)
        found[candidate] = _noise_error(model, config)
    return found


@torch.inference_mode()
def _noise_error(model: nn.Module, config: Mapping[str, Any], count: int = 2) -> float:
    """Mean square of eps - x_T where x_T is noise alone; near 0 once a network is trained."""
    generators = [seeded("noise error", 0, index) for index in range(count)]
    x = torch.stack([torch.randn(config["shape"], generator=g) for g in generators])
    t = torch.full((count,), config["timesteps"] - 1)
    return float((model(x, t)[:, : x.shape[1]] - x).square().mean())


def better(found: Mapping[tuple[str, int], float]) -> tuple[str, int] | None:
    """The flags that fit the weights clearly better than those of the config, or None."""
    own, *others = found.items()
    best = min(others, key=lambda item: item[1], default=own)
    return best[0] if best[1] < TRAINED and best[1] < BETTER * own[1] else None
