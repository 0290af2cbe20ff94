"""Source `safetensors`: one file of weights; the card's `config` describes the network.

config:
    network: {patch, unet}     see `bench.networks.build_network`
    shape: [C, H, W]           of an image
    schedule: cosine | linear
    timesteps: 1000
    predicts: epsilon
"""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bench.errors import InputError
from bench.networks import SCHEDULES, alpha_bar, build_network
from bench.protocols import Denoiser
from bench.spec import Checkpoint

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly: every weight present, none left over, all finite.

    Raises:
        InputError: the file is truncated or no safetensors, the weights do not fit the network, or
            the config is incomplete.
    """
    label, config = f"card {checkpoint.name!r}", checkpoint.config
    for name in ("network", "shape"):
        if name not in config:
            raise InputError(f"{label}, field config: {name} is missing")
    schedule, predicts = config.get("schedule", "cosine"), config.get("predicts", "epsilon")
    if schedule not in SCHEDULES or predicts not in PREDICTIONS:
        raise InputError(f"{label}, field config: unknown schedule or prediction type")
    try:
        weights = load_file(checkpoint.uri)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{label}: {checkpoint.uri} is no whole safetensors ({error})") from None
    try:
        model = build_network(config["network"])
    except (TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{label}, field config: network cannot be built ({reason})") from None
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{label}: weights do not fit the network: {reason}") from None
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{label}: weight {name} holds NaN or infinite values")
    channels, height, width = config["shape"]
    return Denoiser(
        model=model.eval().requires_grad_(False),
        alpha_bar=alpha_bar(schedule, int(config.get("timesteps", 1000))),
        predicts=predicts,
        shape=(channels, height, width),
    )
