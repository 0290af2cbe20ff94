"""The `UNet2DModel` that names and shapes of weights imply, for weights without a config.

They tell the widths, the blocks, attention, the way of changing the resolution, scale-shift and
the number of classes. They do not tell the fields of `OPEN`, nor the heads, the image size or the
patches: those are given, determined by the error on noise, or assumed and told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.core.errors import InputError
from bench.models.sources import telling
from bench.models.sources.heads import Heads

GROUPS = 32
# Fields of UNet2DModel that no weight shows, with the values that people have; the usual first.
# The two values of `time` are flip_sin_to_cos and freq_shift, which trainings change together.
OPEN: dict[str, tuple[Any, ...]] = {
    "norm_num_groups": (GROUPS, 16, 8, 4, 2, 1),
    "time": ((True, 0), (False, 1), (False, 0), (True, 1)),
    "downsample_padding": (1, 0),
    "act_fn": ("silu", "relu", "gelu", "mish"),
    "norm_eps": (1e-5, 1e-6),
    "center_input_sample": (False, True),
    "mid_block_scale_factor": (1, 2**0.5),
}
TIME = ("flip_sin_to_cos", "freq_shift")
# Names of attention before diffusers 0.15, which published files still have.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def is_unet(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a `UNet2DModel`, with `unet.` before them or without."""
    return any(
        {f"{prefix}conv_in.weight", f"{prefix}time_embedding.linear_1.weight"} <= set(weights)
        for prefix in ("", "unet.")
    )


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under bench's names: diffusers' of today with `unet.` before them."""
    prefix = "unet." if "conv_in.weight" in weights else ""
    today: dict[str, Tensor] = {}
    for name, value in weights.items():
        stem, dot, kind = name.rpartition(".")
        block, point, last = stem.rpartition(".")
        if "attentions." in block and last in OLD_NAMES:
            stem = f"{block}{point}{OLD_NAMES[last]}"
            value = value.flatten(1) if value.ndim == 4 else value
        today[f"{prefix}{stem}{dot}{kind}"] = value
    return today


def network(
    weights: Mapping[str, Tensor], heads: Heads, size: Any, said: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The network of weights, as `bench.models.networks.build_network` takes it.

    Args:
        weights: under the names of `UNet2DModel`.
        heads: the heads of attention.
        size: the size of an image in pixels.
        said: other fields of the U-Net, which go before what is usual.

    Raises:
        InputError: the names are not those of a `UNet2DModel`.
    """
    shapes = {name.removeprefix("unet."): value.shape for name, value in renamed(weights).items()}
    if "time_proj.weight" in shapes and len(shapes["time_proj.weight"]) == 1:
        raise InputError(
            "a UNet2DModel with a Fourier embedding of time, which denoises at continuous noise "
            "levels: take one that predicts epsilon at integer timesteps"
        )
    if any(".skip_conv." in name for name in shapes):
        raise InputError(
            "a UNet2DModel with skip blocks (NCSN++), whose types one file does not tell: import "
            "the folder with its config.json"
        )
    try:
        unet = _unet(shapes, size)
    # A weight that is missing, or a number where a tensor was expected.
    except (KeyError, IndexError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"these are not the weights of a UNet2DModel (no {reason})") from None
    unet |= said or {}
    if unet.get("attn_norm_num_groups") == "":
        unet["attn_norm_num_groups"] = unet["norm_num_groups"]
    return heads.put({"patch": 1, "unet": unet})


def _unet(shapes: Mapping[str, Any], size: Any) -> dict[str, Any]:
    numbers = (_number(name) for name in shapes if name.startswith("down_blocks."))
    levels = 1 + max(numbers, default=0)
    stems = [f"down_blocks.{level}" for level in range(levels)]
    widths = [shapes[f"{stem}.resnets.0.conv1.weight"][0] for stem in stems]
    blocks = 1 + max(
        int(n.split(".")[3]) for n in shapes if n.startswith("down_blocks.0.resnets.")
    )
    attention = [f"{stem}.attentions.0.to_q.weight" in shapes for stem in stems]
    resnet = "down_blocks.0.downsamplers.0.conv1.weight" in shapes
    embedding = shapes["down_blocks.0.resnets.0.time_emb_proj.weight"]
    down, up = (
        ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        if resnet
        else ("DownBlock2D", "UpBlock2D")
    )
    scale_shift = embedding[0] == 2 * widths[0]
    arguments: dict[str, Any] = {
        "sample_size": size,
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "layers_per_block": blocks,
        "block_out_channels": widths,
        "down_block_types": ["AttnDownBlock2D" if a else down for a in attention],
        "up_block_types": ["AttnUpBlock2D" if a else up for a in reversed(attention)],
        "norm_num_groups": groups(widths),
        "downsample_type": "resnet" if resnet else "conv",
        "upsample_type": "resnet" if resnet else "conv",
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        "add_attention": "mid_block.attentions.0.to_q.weight" in shapes,
    }
    if "mid_block.resnets.0.conv1.weight" not in shapes:
        arguments["mid_block_type"] = None
    if embedding[1] != 4 * widths[0]:
        arguments["time_embedding_dim"] = embedding[1]
    if "time_proj.weight" in shapes:
        arguments["time_embedding_type"] = "learned"
        arguments["num_train_timesteps"] = shapes["time_proj.weight"][0]
    if "mid_block.attentions.0.group_norm.weight" in shapes and scale_shift:
        arguments["attn_norm_num_groups"] = ""
    if "class_embedding.weight" in shapes:
        arguments["num_class_embeds"] = shapes["class_embedding.weight"][0]
    return arguments


def attention_widths(weights: Mapping[str, Tensor]) -> list[int]:
    """The widths at which a network has attention."""
    return [len(v) for name, v in renamed(weights).items() if name.endswith(".to_q.weight")]


def choices(network: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each open field that fit a network; the assumed one comes first.

    Args:
        network: from `network`.
        said: fields of the U-Net that the user gives, which are not open.
    """
    unet = network["unet"]
    usual = {"time": (True, 0), **{name: unet.get(name) for name in OPEN if name in unet}}
    flags: dict[str, list[Any]] = {}
    for name, values in OPEN.items():
        if name in said or (name == "time" and set(TIME) & set(said)):
            continue
        if name == "time" and unet.get("time_embedding_type") == "learned":
            continue
        if name == "downsample_padding" and unet["downsample_type"] != "conv":
            continue
        fitting = [
            v
            for v in values
            if name != "norm_num_groups" or all(w % v == 0 for w in unet["block_out_channels"])
        ]
        flags[name] = list(dict.fromkeys([usual.get(name, fitting[0]), *fitting]))
    return flags


def put(network: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """A network with values of open fields and heads."""
    unet = dict(network["unet"])
    for name, value in flags.items():
        if name == "time":
            unet |= dict(zip(TIME, value, strict=True))
        elif name in OPEN:
            unet[name] = value
    if "norm_num_groups" in flags and unet.get("attn_norm_num_groups") is not None:
        unet["attn_norm_num_groups"] = flags["norm_num_groups"]
    return flags["heads"].put({**network, "unet": unet})


def errors(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> telling.Error:
    """The error of weights on noise, for values of open fields, heads and timesteps."""
    named = {name: value.float() for name, value in renamed(weights).items()}

    def error(flags: telling.Flags) -> float | None:
        timesteps = flags["timesteps"]
        network = put(config["network"], flags)
        model = telling.network(network, named, timesteps, flags["rescale_timesteps"])
        return None if model is None else telling.noise_error(model, config["shape"], timesteps)

    return error


def groups(widths: list[int]) -> int:
    """The usual 32 groups, or the largest power of two that divides all widths."""
    count = GROUPS
    while any(width % count for width in widths):
        count //= 2
    return count


def _number(name: str) -> int:
    return int(name.split(".")[1])
