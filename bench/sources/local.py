"""Sources `safetensors` and `torch`: one file of weights; the card's `config` has the network.

`torch` reads the pickles of `torch.save`, weights only. Both know what training code puts around
the weights (`bench.sources.weights`).

config:
    network: {patch, unet}     see `bench.networks.build_network`
    shape: [C, H, W]           of an image
    schedule: cosine | linear | scaled_linear | sigmoid, as diffusers defines them
    timesteps: 1000
    predicts: epsilon | v_prediction | sample
    learns_variance: false     true for 2C outputs, the last C for the variance
    variance: fixed_small | fixed_large
    weights: raw | ema | swa   of a file that holds several, and of an average
    stored: float32 | float16 | bfloat16
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.errors import InputError, offer
from bench.networks import SCHEDULES, PatchedUNet, alpha_bar, build_network, check_network
from bench.protocols import Denoiser
from bench.sources import weights as files
from bench.sources.filling import fill, named
from bench.spec import Checkpoint

DEFAULTS = {
    "schedule": "cosine",
    "timesteps": 1000,
    "predicts": "epsilon",
    "learns_variance": False,
    "variance": "fixed_small",
    "weights": None,
    "stored": "float32",
}
# Every field of the config: another one is refused.
FIELDS = ("network", "shape", *DEFAULTS)
CHOICES = {
    "schedule": tuple(SCHEDULES),
    "predicts": ("epsilon", "v_prediction", "sample"),
    "variance": ("fixed_small", "fixed_large"),
    "weights": (*files.KINDS, None),
    "stored": ("float32", "float16", "bfloat16"),
}

# What neither names nor shapes tell: values that `bench.plausibility` holds against the card's.
ALTERNATIVES: Mapping[str, Any] = {
    "timesteps": (1000, 4000),
    "network.unet.norm_num_groups": (32, 16, 8, 4, 2),
    "network.unet.attention_head_dim": lambda config: near_heads(config),
    "network.unet.flip_sin_to_cos": (True, False),
    "network.unet.freq_shift": (0, 1),
    "network.unet.downsample_padding": (1, 0),
}

Rename = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Mapping[str, Tensor]]


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly: every weight present, none left over, all finite.

    Raises:
        InputError: the file is truncated, no safetensors or state dict, the weights do not fit
            the network, or the config is incomplete.
    """
    check_fields(checkpoint, FIELDS)
    return build(checkpoint, lambda weights, config: prefixed(weights))


def check_fields(checkpoint: Checkpoint, known: Collection[str]) -> None:
    """Refuse a field of the card's config that its source does not read.

    Raises:
        InputError: there is one; the message offers near ones.
    """
    for name in checkpoint.config:
        if name not in known:
            raise InputError(
                f"card {checkpoint.name!r}, field config: unknown field {name} of source "
                f"{checkpoint.source}; {offer(str(name), known)}"
            )


def near_heads(config: Mapping[str, Any]) -> list[int]:
    """Half and twice the channels of an attention head."""
    head = config["network"]["unet"].get("attention_head_dim")
    return [2 * head, head // 2] if type(head) is int and head > 1 else []


def prefixed(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights under bench's names: diffusers' with `unet.` before them."""
    if "conv_in.weight" not in weights:
        return weights
    return {f"unet.{name}": value for name, value in weights.items()}


def build(checkpoint: Checkpoint, rename: Rename) -> Denoiser:
    """Load a checkpoint whose weights get the names of the network from `rename`.

    Args:
        checkpoint: its card.
        rename: (weights of the file, complete config) -> weights under the network's names.
    """
    label, config = f"card {checkpoint.name!r}", complete(checkpoint)
    try:
        found = files.read(Path(checkpoint.uri))
        chosen = files.choose(found, config["weights"])
    except (InputError, OSError) as error:
        raise InputError(f"{label}: {error}") from None
    try:
        model = build_network(config["network"], config["timesteps"])
        model.eval().requires_grad_(False)
        check_network(model, config["shape"], config["learns_variance"])
    except InputError as error:
        raise InputError(f"{label}, field config: {error}") from None
    try:
        weights = named(model, chosen) if found.ordered else rename(chosen, config)
        fill(model, weights, config["stored"])
    except InputError as error:
        raise InputError(f"{label}: {error}") from None
    return _denoiser(model, config)


def _denoiser(model: PatchedUNet, config: Mapping[str, Any]) -> Denoiser:
    return Denoiser(
        model=model,
        alpha_bar=alpha_bar(config["schedule"], config["timesteps"]),
        predicts=config["predicts"],
        shape=tuple(config["shape"]),
        learns_variance=config["learns_variance"],
        variance=config["variance"],
        classes=config["network"]["unet"].get("num_class_embeds") or 0,
    )


def complete(checkpoint: Checkpoint) -> dict[str, Any]:
    """The card's config with the defaults, of the right types.

    Raises:
        InputError: a field is missing or wrong, or contradicts the card's method.
    """
    config, label = DEFAULTS | checkpoint.config, f"card {checkpoint.name!r}, field config"
    shape = config.get("shape")
    checks = {
        "network": (isinstance(config.get("network"), dict), "a mapping of patch and unet"),
        "shape": (
            isinstance(shape, list) and len(shape) == 3 and all(_positive(n) for n in shape),
            "[channels, height, width]",
        ),
        "timesteps": (_positive(config["timesteps"]), "a positive integer"),
        "learns_variance": (isinstance(config["learns_variance"], bool), "true or false"),
    }
    for name, known in CHOICES.items():
        words = ", ".join(word for word in known if word)
        checks[name] = (config[name] in known, f"one of {words}")
    for name, (good, expected) in checks.items():
        if not good:
            raise InputError(f"{label}: {name} must be {expected}, not {config.get(name)!r}")
    check_kind(checkpoint.method, config["weights"], label)
    return config


def check_kind(method: str, kind: str | None, label: str) -> None:
    """Hold the kind of weights against the method, which the report shows.

    Raises:
        InputError: averaged weights under a method that does not say so, or the reverse.
    """
    averages = {"ema", "swa"} & {word.split("@")[0] for word in method.split("+")}
    if kind is not None and averages != {kind} - {"raw"}:
        raise InputError(
            f"{label}: weights {kind} contradict method {method!r}: write them alike, for example "
            f"method sam+ema for weights ema"
        )


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0
