"""Names and shapes of ADM's networks: the network they imply, and the map onto `UNet2DModel`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.core.errors import InputError
from bench.models.sources import unsupported
from bench.models.sources.heads import Heads

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


def is_adm(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of an ADM network."""
    return {"input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"} <= set(weights)


def network(weights: Mapping[str, Tensor], heads: Heads, size: Any) -> dict[str, Any]:
    """The network of weights, as `bench.models.networks.build_network` takes it.

    Args:
        weights: under ADM's names.
        heads: the heads of attention, which the weights do not tell.
        size: the size of an image in pixels, which they do not tell either.

    Raises:
        InputError: the names are not those of an ADM network.
    """
    if not is_adm(weights):
        raise InputError("these are not the weights of an ADM network (no input_blocks, out)")
    if title := unsupported.variant(weights):
        raise InputError(title)
    levels, blocks = _levels(weights)
    firsts = [1 + level * (blocks + 1) for level in range(levels)]
    widths, embedding, inputs, outputs = _widths(weights, firsts)
    attention = [f"input_blocks.{k}.1.qkv.weight" in weights for k in firsts]
    resnet = f"input_blocks.{blocks + 1}.0.in_layers.0.weight" in weights and levels > 1
    down = ["AttnDownBlock2D" if a else _plain("Down", resnet) for a in attention]
    up = ["AttnUpBlock2D" if a else _plain("Up", resnet) for a in reversed(attention)]
    unet: dict[str, Any] = {
        "sample_size": size,
        "in_channels": inputs,
        "out_channels": outputs,
        "layers_per_block": blocks,
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": up,
        "attn_norm_num_groups": 32,
        "downsample_type": "resnet" if resnet else "conv",
        "upsample_type": "resnet" if resnet else "conv",
        "resnet_time_scale_shift": "scale_shift" if embedding == 2 * widths[0] else "default",
    }
    if "label_emb.weight" in weights:
        unet["num_class_embeds"] = len(weights["label_emb.weight"])
    return heads.put({"patch": 1, "unet": unet})


def _widths(weights: Mapping[str, Tensor], firsts: list[int]) -> tuple[list[int], int, int, int]:
    """(widths of the levels, channels of the embedding in a block, input and output channels)."""
    try:
        widths = [len(weights[f"input_blocks.{k}.0.out_layers.3.weight"]) for k in firsts]
        embedding = len(weights["input_blocks.1.0.emb_layers.1.weight"])
        entry, inputs = weights["input_blocks.0.0.weight"].shape[:2]
        clock = weights["time_embed.0.weight"].shape[1]
        outputs = len(weights["out.2.weight"])
        len(weights["middle_block.1.qkv.weight"])
    # A weight that is missing, or a number where a tensor was expected.
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"these are not the weights of an ADM network (no {error})") from None
    if not entry == clock == widths[0]:
        raise InputError(
            f"an ADM network whose first level is {widths[0]} wide and whose timesteps have "
            f"{clock} channels (channel_mult that does not begin with 1, as at 512 pixels), "
            f"which is no UNet2DModel: it cannot be loaded"
        )
    return widths, embedding, inputs, outputs


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


def rename(weights: Mapping[str, Tensor], order: str, heads: Heads) -> dict[str, Tensor]:
    """Weights under the names of `UNet2DModel`.

    Args:
        weights: under ADM's names.
        order: "new" or "legacy", of q, k and v.
        heads: the heads of attention, for the legacy order.

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
        block, rest = _place(stem, levels, blocks)
        if rest == "qkv":
            for letter, part in zip("qkv", split_qkv(value, order, heads), strict=True):
                renamed[f"{block}.to_{letter}.{kind}"] = part
        elif "attentions" in block and rest in ATTENTION:
            flat = value.flatten(1) if value.ndim == 3 else value
            renamed[f"{block}.{ATTENTION[rest]}.{kind}"] = flat
        elif rest in ("op", "conv"):
            renamed[f"{block}.conv.{kind}"] = value
        elif rest in RESIDUAL:
            renamed[f"{block}.{RESIDUAL[rest]}.{kind}"] = value
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


def split_qkv(value: Tensor, order: str, heads: Heads) -> tuple[Tensor, ...]:
    """q, k and v, (C, C) or (C,) each, of a `qkv` weight (3C, C, 1) or bias (3C,)."""
    flat = value.flatten(1) if value.ndim == 3 else value
    channels = len(flat) // 3
    head = heads.of(channels)
    if order == "legacy":
        flat = flat.unflatten(0, (channels // head, 3, head)).transpose(0, 1).flatten(0, 2)
    return flat.chunk(3)


def attention_widths(weights: Mapping[str, Tensor]) -> list[int]:
    """The widths at which a network has attention."""
    return [len(v) // 3 for name, v in weights.items() if name.endswith(".qkv.weight")]
