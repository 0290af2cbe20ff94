"""Named recipes: that of the shipped checkpoints, and those of the paper.

The ADM recipes are the flags that DDPM-IP and ADM-ES publish for these data sets (Ning et al.
2023, arXiv 2301.11706; 2024, arXiv 2308.15321), on which the flatness paper (arXiv 2503.11078)
builds. The number of updates, the SWA cycle, the SAM radius and the network of FFHQ at 64 pixels
(that of LSUN at 64 pixels) are not published there and are our choice.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.models.training.recipe import Recipe

# 0.7 M parameters.
SMALL_NETWORK: dict[str, Any] = {
    "patch": 1,
    "unet": {
        "sample_size": 28,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": [16, 32, 64],
        "norm_num_groups": 8,
        "attention_head_dim": 16,
        "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    },
}


def adm_network(
    size: int, widths: Sequence[int], attention: Sequence[int], head: int, dropout: float
) -> dict[str, Any]:
    """The U-Net of ADM (Dhariwal and Nichol 2021) with three residual blocks a level.

    Args:
        size: edge of an image in pixels.
        widths: channels of each level, the resolution halving from one to the next.
        attention: resolutions with attention.
        head: channels of an attention head.
        dropout: probability in each residual block.
    """
    levels = [size // 2**k in attention for k in range(len(widths))]
    down = ["AttnDownBlock2D" if level else "ResnetDownsampleBlock2D" for level in levels]
    up = ["AttnUpBlock2D" if level else "ResnetUpsampleBlock2D" for level in reversed(levels)]
    unet = {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 6,
        "layers_per_block": 3,
        "block_out_channels": list(widths),
        "down_block_types": down,
        "up_block_types": up,
        "attention_head_dim": head,
        "attn_norm_num_groups": 32,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "dropout": dropout,
    }
    return {"patch": 1, "unet": unet}


def _adm(name: str, dataset: str, size: int, network: dict[str, Any], **rest: Any) -> Recipe:
    return Recipe(
        name=name,
        dataset=dataset,
        shape=(3, size, size),
        network=network,
        learns_variance=True,
        flip=True,
        timestep_sampler="loss-second-moment",
        optimizer="adamw",
        learning_rate=1e-4,
        warmup=0,
        ema_decays=(0.9999, 0.999),
        ema_warmup=False,
        swa_every=1000,
        precision="bfloat16",
        updates=500_000,
        **rest,
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fashion-unet", "fashion-mnist", (1, 28, 28), SMALL_NETWORK),
        _adm(
            "adm-cifar10",
            "cifar10",
            32,
            adm_network(32, (128, 256, 256, 256), (16, 8), 32, 0.3),
            batch=128,
            gamma=0.15,
        ),
        _adm(
            "adm-lsun64",
            "lsun-tower",
            64,
            adm_network(64, (192, 384, 576, 768), (32, 16, 8), 64, 0.1),
            batch=256,
        ),
        _adm(
            "adm-ffhq64",
            "ffhq",
            64,
            adm_network(64, (192, 384, 576, 768), (32, 16, 8), 64, 0.1),
            batch=128,
        ),
    )
}


def find(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        InputError: there is none; the message offers the nearest.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name[:100], RECIPES)
        offer = f"did you mean {near[0]}?" if near else f"known: {', '.join(RECIPES)}"
        raise InputError(f"unknown recipe {quoted(name)}: {offer}")
    return RECIPES[name]
