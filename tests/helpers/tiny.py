"""The smallest real checkpoint: its network, its weights, its card."""

from __future__ import annotations

import yaml

TINY_NETWORK = {
    "patch": 2,
    "unet": {
        "sample_size": 14,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "attention_head_dim": 8,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
}
TINY_CONFIG = {
    "shape": [1, 28, 28],
    "schedule": "cosine",
    "timesteps": 1000,
    "predicts": "epsilon",
    "network": TINY_NETWORK,
}


def write_card(folder, name="tiny", method="baseline", seed=0, **changes):
    """Write random weights and a card entry for them; return the entry.

    Random weights denoise worse than no network: the card says to measure them all the same.
    """
    import torch
    from safetensors.torch import save_file

    from bench.models.networks import build_network
    from bench.system.store import sha256

    torch.manual_seed(seed)
    path = folder / f"{name}.safetensors"
    save_file(build_network(TINY_NETWORK).state_dict(), path)
    entry = {
        "name": name,
        "family": "tiny",
        "method": method,
        "seed": seed,
        "source": "safetensors",
        "uri": path.name,
        "sha256": sha256(path),
        "dataset": "fashion-mnist",
        "config": TINY_CONFIG,
        "force": True,
    }
    return entry | changes


def write_cards(folder, entries):
    """Write a card file; return its path."""
    path = folder / "checkpoints.yaml"
    path.write_text(yaml.safe_dump({"checkpoints": entries}), encoding="utf-8")
    return path
