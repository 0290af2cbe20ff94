"""What the names and shapes of weights tell of a `UNet2DModel`, for weights without a config.

They tell the widths, the blocks, attention, the way of changing the resolution, scale-shift and
the number of classes. They do not tell the groups of the norms, the heads, the image size or the
patches: those are given, or assumed and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.errors import InputError

GROUPS = 32
# Arguments of the network that show in no shape.
GUESSED = ("norm_num_groups", "flip_sin_to_cos", "freq_shift", "downsample_padding")


def is_unet(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a `UNet2DModel`, with `unet.` before them or without."""
    return any(f"{prefix}conv_in.weight" in weights for prefix in ("", "unet."))


def network(weights: Mapping[str, Tensor], head: int, size: int | None) -> dict[str, Any]:
    """The network of weights, as `bench.networks.build_network` takes it.

    Args:
        weights: under the names of `UNet2DModel`.
        head: channels of an attention head.
        size: edge of an image in pixels.

    Raises:
        InputError: the names are not those of a `UNet2DModel`.
    """
    shapes = {name.removeprefix("unet."): value.shape for name, value in weights.items()}
    try:
        return {"patch": 1, "unet": _unet(shapes, head, size)}
    except KeyError as error:
        raise InputError(f"these are not the weights of a UNet2DModel (no {error})") from None


def _unet(shapes: Mapping[str, Any], head: int, size: int | None) -> dict[str, Any]:
    numbers = (_number(name) for name in shapes if name.startswith("down_blocks."))
    levels = 1 + max(numbers, default=0)
    stems = [f"down_blocks.{level}" for level in range(levels)]
    widths = [shapes[f"{stem}.resnets.0.conv1.weight"][0] for stem in stems]
    blocks = 1 + max(
        int(n.split(".")[3]) for n in shapes if n.startswith("down_blocks.0.resnets.")
    )
    attention = [f"{stem}.attentions.0.to_q.weight" in shapes for stem in stems]
    resnet = "down_blocks.0.downsamplers.0.conv1.weight" in shapes
    embedding = shapes["down_blocks.0.resnets.0.time_emb_proj.weight"][0]
    down, up = (
        ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        if resnet
        else ("DownBlock2D", "UpBlock2D")
    )
    scale_shift = embedding == 2 * widths[0]
    normed = "mid_block.attentions.0.group_norm.weight" in shapes
    found: dict[str, Any] = {
        "sample_size": size,
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "layers_per_block": blocks,
        "block_out_channels": widths,
        "down_block_types": ["AttnDownBlock2D" if a else down for a in attention],
        "up_block_types": ["AttnUpBlock2D" if a else up for a in reversed(attention)],
        "attention_head_dim": head,
        "norm_num_groups": groups(widths),
        "downsample_type": "resnet" if resnet else "conv",
        "upsample_type": "resnet" if resnet else "conv",
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        "add_attention": "mid_block.attentions.0.to_q.weight" in shapes,
    }
    if normed and scale_shift:
        found["attn_norm_num_groups"] = found["norm_num_groups"]
    if "class_embedding.weight" in shapes:
        found["num_class_embeds"] = shapes["class_embedding.weight"][0]
    return found


def groups(widths: list[int]) -> int:
    """The usual 32 groups, or the largest power of two that divides all widths."""
    count = GROUPS
    while any(width % count for width in widths):
        count //= 2
    return count


def _number(name: str) -> int:
    return int(name.split(".")[1])
