"""Tiny random pipelines in diffusers' folders, as its own `save_pretrained` writes them."""

from __future__ import annotations

import json

import torch

from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        DDPMScheduler,
        DiTTransformer2DModel,
        UNet2DModel,
        VQModel,
    )
    from diffusers.training_utils import EMAModel

UNET = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 1,
    "block_out_channels": [8, 16],
    "norm_num_groups": 4,
    "attention_head_dim": 8,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}


def save_unet(folder, seed=0, scheduler=None, **changes):
    """A pixel model; returns the network."""
    torch.manual_seed(seed)
    network = UNet2DModel(**(UNET | changes))
    network.save_pretrained(folder / "unet")
    (scheduler or DDPMScheduler()).save_pretrained(folder / "scheduler")
    return network


def save_decoder(folder):
    """A decoder of latents of 4 channels to images of twice the size."""
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2}
    blocks["up_block_types"] = ["UpDecoderBlock2D"] * 2
    vae = AutoencoderKL(
        block_out_channels=[8, 8],
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        **blocks,
    )
    vae.save_pretrained(folder / "vae")
    return vae


def save_dit(folder, seed=0):
    """A class-conditional latent model with learned variance; returns network and decoder."""
    torch.manual_seed(seed)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
    )
    network.save_pretrained(folder / "transformer")
    DDIMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    return network, save_decoder(folder)


def edit(path, **changes):
    """Change fields of a JSON file; None takes one away."""
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))


def save_vq(folder, **changes):
    """A decoder of quantized latents of 4 channels, in the folder that LDMPipeline gives it."""
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2}
    blocks["up_block_types"] = ["UpDecoderBlock2D"] * 2
    vq = VQModel(
        block_out_channels=[8, 8],
        latent_channels=4,
        norm_num_groups=4,
        num_vq_embeddings=16,
        **(blocks | changes),
    )
    vq.save_pretrained(folder / "vqvae")
    return vq


def save_index(folder, pipeline, **named):
    """The index of a pipeline; names of components to (library, class), or other values."""
    index = {"_class_name": pipeline, "_diffusers_version": "0.11.1", **named}
    folder.mkdir(exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index))


def save_average(network, folder):
    """The average of a network, as diffusers' training scripts save it."""
    average = EMAModel(network.parameters(), model_cls=UNet2DModel, model_config=network.config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)
    average.step(network.parameters())
    average.save_pretrained(folder / "unet_ema")
    return average
