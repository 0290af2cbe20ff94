"""Source `safetensors`: one file of weights; the card's `config` describes the network.

config:
    network: {patch, unet}     see `bench.networks.build_network`
    shape: [C, H, W]           of an image
    schedule: cosine | linear
    timesteps: 1000
    predicts: epsilon | v_prediction | sample
    learns_variance: false     true for 2C outputs, the last C for the variance
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bench.errors import InputError
from bench.networks import SCHEDULES, alpha_bar, build_network, check_network
from bench.protocols import Denoiser
from bench.spec import Checkpoint

DEFAULTS = {
    "schedule": "cosine",
    "timesteps": 1000,
    "predicts": "epsilon",
    "learns_variance": False,
}
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly: every weight present, none left over, all finite.

    Raises:
        InputError: the file is truncated or no safetensors, the weights do not fit the network, or
            the config is incomplete.
    """
    label, config = f"card {checkpoint.name!r}", _with_defaults(checkpoint)
    try:
        weights = load_file(checkpoint.uri)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{label}: {checkpoint.uri} is no whole safetensors ({error})") from None
    try:
        model = build_network(config["network"]).eval().requires_grad_(False)
        check_network(model, config["shape"], config["learns_variance"])
    except InputError as error:
        raise InputError(f"{label}, field config: {error}") from None
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{label}: weights do not fit the network: {reason}") from None
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{label}: weight {name} holds NaN or infinite values")
    return Denoiser(
        model=model,
        alpha_bar=alpha_bar(config["schedule"], config["timesteps"]),
        predicts=config["predicts"],
        shape=tuple(config["shape"]),
        learns_variance=config["learns_variance"],
    )


def _with_defaults(checkpoint: Checkpoint) -> dict[str, Any]:
    """The card's config, complete and of the right types."""
    config = DEFAULTS | checkpoint.config
    shape = config.get("shape")
    checks = {
        "network": (isinstance(config.get("network"), dict), "a mapping of patch and unet"),
        "shape": (
            isinstance(shape, list) and len(shape) == 3 and all(_positive(n) for n in shape),
            "[channels, height, width]",
        ),
        "schedule": (str(config["schedule"]) in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
        "timesteps": (_positive(config["timesteps"]), "a positive integer"),
        "predicts": (str(config["predicts"]) in PREDICTIONS, f"one of {', '.join(PREDICTIONS)}"),
        "learns_variance": (isinstance(config["learns_variance"], bool), "true or false"),
    }
    for name, (good, expected) in checks.items():
        if not good:
            label = f"card {checkpoint.name!r}, field config"
            raise InputError(f"{label}: {name} must be {expected}, not {config.get(name)!r}")
    return config


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0
