"""Randomly initialised networks of DINOv2 and CLIP, as transformers saves them."""

from __future__ import annotations

import torch


def settle(network):
    """Weights large enough that images tell apart."""
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn_like(value) * 0.3)
    return network


def save_dinov2(folder, seed=0, **changes):
    """A DINOv2 of width 16 whose positions are a grid of 20 x 20; returns the network."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 280,
    }
    network = settle(Dinov2Model(Dinov2Config(**(sizes | {"patch_size": 14} | changes))))
    network.save_pretrained(folder)
    return network.eval()


def save_clip(folder, seed=0, **changes):
    """A whole CLIP, text included as published, with images of 28 pixels; returns it."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "projection_dim": 12}
    image = sizes | {"image_size": 28, "patch_size": 14}
    text = sizes | {"vocab_size": 50, "max_position_embeddings": 8} | changes
    config = CLIPConfig(text_config=text, vision_config=image, projection_dim=12)
    network = settle(CLIPModel(config))
    network.save_pretrained(folder)
    return network.eval()
