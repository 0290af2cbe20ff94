"""The config of a card whose weights lie in a file: completed, and its fields held together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.cell import Checkpoint
from bench.core.denoiser import PREDICTIONS
from bench.core.errors import InputError
from bench.models.schedules import SCHEDULES
from bench.models.sources import noise as noises
from bench.models.sources import said_levels
from bench.models.sources import state_dicts as files
from bench.models.sources.filling import PRECISIONS
from bench.models.sources.scheduled import Noise

DEFAULTS = {
    "schedule": "cosine",
    "timesteps": 1000,
    "rescale_timesteps": False,
    "predicts": "epsilon",
    "learns_variance": False,
    "variance": "fixed_small",
    "weights": None,
    "part": None,
    "scheduler": None,
    "stored": "float32",
    "levels": None,
    "null_class": None,
}
# Every field of the config; any other is refused.
FIELDS = ("network", "shape", *DEFAULTS)
CHOICES = {
    "schedule": (*SCHEDULES, noises.FILE),
    "predicts": tuple(PREDICTIONS),
    "variance": ("fixed_small", "fixed_large"),
    "weights": (*files.KINDS, None),
    "stored": (*PRECISIONS, "mixed"),
}
# More timesteps than any training has; each is a number of the schedule.
MOST_TIMESTEPS = 100_000


def complete(checkpoint: Checkpoint) -> dict[str, Any]:
    """The card's config with the defaults, of the right types.

    Raises:
        InputError: a field is missing or wrong, or contradicts the card's method.
    """
    label = f"card {checkpoint.name!r}, field config"
    config: dict[str, Any] = {**DEFAULTS, **checkpoint.config}
    shape, timesteps = config.get("shape"), config["timesteps"]
    checks = {
        "network": (isinstance(config.get("network"), dict), "a mapping of patch and unet"),
        "shape": (
            isinstance(shape, list) and len(shape) == 3 and all(_positive(n) for n in shape),
            "[channels, height, width]",
        ),
        "timesteps": (
            _positive(timesteps) and timesteps <= MOST_TIMESTEPS,
            f"a positive integer, at most {MOST_TIMESTEPS}",
        ),
        "learns_variance": (isinstance(config["learns_variance"], bool), "true or false"),
        "rescale_timesteps": (isinstance(config["rescale_timesteps"], bool), "true or false"),
        "null_class": (
            config["null_class"] is None
            or (type(config["null_class"]) is int and config["null_class"] >= 0),
            "a label, a whole number from 0",
        ),
        "part": (isinstance(config["part"], str | None), "the name of a part of the file"),
        "scheduler": (
            isinstance(config["scheduler"], dict | None),
            "the content of a scheduler_config.json",
        ),
    }
    for name, known in CHOICES.items():
        words = ", ".join(word for word in known if word)
        value = config[name]
        checks[name] = (isinstance(value, str | None) and value in known, f"one of {words}")
    for name, (good, expected) in checks.items():
        if not good:
            raise InputError(f"{label}: {name} must be {expected}, not {config.get(name)!r}")
    _complete_levels(config, checkpoint.config, label)
    check_kind(checkpoint.method, config["weights"], label)
    return config


def _complete_levels(config: dict[str, Any], said: Mapping[str, Any], label: str) -> None:
    """Hold what a card says of its noise levels together; `predicts` is put in.

    Raises:
        InputError: two fields that exclude each other, or a prediction of other levels.
    """
    levels, word = config["levels"], said.get("predicts")
    excluded = []
    if config["scheduler"] is not None:
        excluded, why = ["schedule", "timesteps", "variance", "levels"], "scheduler"
    elif levels is not None:
        try:
            said_levels.read(levels)
        except InputError as error:
            raise InputError(f"{label}: {error}") from None
        why = f"levels of kind {levels['kind']}"
        excluded = [] if said_levels.is_fractional(levels) else ["schedule"]
    for name in excluded:
        if said.get(name) is not None:
            raise InputError(f"{label}: {name} and {why} exclude each other")
    if config["scheduler"] is not None:
        config["predicts"] = word
        return
    try:
        config["predicts"] = said_levels.predicts(levels, word)
    except InputError as error:
        raise InputError(f"{label}: {error}") from None


def drawn_classes(unet: Any, null: int | None) -> int:
    """Number of classes that images are drawn of, from the arguments of a U-Net.

    Raises:
        InputError: the null label is none of its labels.
    """
    labels = (unet.get("num_class_embeds") or 0) if isinstance(unet, Mapping) else 0
    if null is None:
        return labels
    if not null < labels or labels < 2:
        raise InputError(f"null_class {null} is none of the network's {labels} labels")
    return labels - 1


def check_told(config: Mapping[str, Any], noise: Noise) -> None:
    """Refuse a network that embeds whole timesteps alone, at levels between them.

    Raises:
        InputError: it does.
    """
    if noise.levels.is_schedule:
        return
    unet = config["network"].get("unet")
    learned = isinstance(unet, Mapping) and unet.get("time_embedding_type") == "learned"
    if config["rescale_timesteps"] or learned:
        field = "rescale_timesteps" if config["rescale_timesteps"] else "time_embedding_type"
        raise InputError(f"{field} is of whole timesteps, and the noise levels are {noise.levels}")


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
