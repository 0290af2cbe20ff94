"""Settings that a user states for a file of weights: `bench import --set FIELD=VALUE`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bench.core.denoiser import PREDICTIONS
from bench.core.errors import InputError
from bench.models.sources import said_levels

# Larger numbers are no sizes of networks or images.
MOST = 100_000


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 0 < int(text) <= MOST:
        raise ValueError(f"a whole number from 1 to {MOST}")
    return int(text)


def _natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError("a whole number from 0")
    return int(text)


def _size(text: str) -> int | list[int]:
    try:
        sides = [_whole(side) for side in text.split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or max(sides) > 4096:
        raise ValueError("a number of pixels, a whole number to 4096, or HEIGHTxWIDTH")
    return sides[0] if len(sides) == 1 else sides


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("a number") from None
    if not 0 < value < MOST:
        raise ValueError("a positive number")
    return value


def _flag(text: str) -> bool:
    known = {"true": True, "false": False}
    if text.lower() not in known:
        raise ValueError("true or false")
    return known[text.lower()]


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return parse


def _word(text: str) -> str:
    if not text or len(text) > 200 or not text.isprintable():
        raise ValueError("a name")
    return text


FIELDS: dict[str, Callable[[str], Any]] = {
    "sample_size": _size,
    "patch": _whole,
    "timesteps": _whole,
    "rescale_timesteps": _flag,
    "schedule": _one_of("cosine", "linear", "scaled_linear", "sigmoid", "file"),
    "predicts": _one_of(*PREDICTIONS),
    "levels": said_levels.parse,
    "null_class": _natural,
    "classes": _whole,
    "variance": _one_of("fixed_small", "fixed_large"),
    "weights": _one_of("raw", "ema", "swa"),
    "part": _word,
    "attention_order": _one_of("new", "legacy"),
    "attention_head_dim": _whole,
    "num_heads": _whole,
    "norm_num_groups": _whole,
    "norm_eps": _real,
    "flip_sin_to_cos": _flag,
    "freq_shift": _natural,
    "downsample_padding": _natural,
    "act_fn": _one_of("silu", "swish", "relu", "gelu", "mish"),
    "center_input_sample": _flag,
    "mid_block_scale_factor": _real,
    "scaling_factor": _real,
    "variant": _word,
    "decoder": _word,
}
# Fields of the U-Net itself that one of its own descriptions decides.
NETWORK = (
    "norm_num_groups",
    "norm_eps",
    "flip_sin_to_cos",
    "freq_shift",
    "downsample_padding",
    "act_fn",
    "center_input_sample",
    "mid_block_scale_factor",
)


def parse(config: Mapping[str, str]) -> dict[str, Any]:
    """Fields of their types.

    Raises:
        InputError: no such field, or another value than it takes.
    """
    given: dict[str, Any] = {}
    for name, text in config.items():
        if name not in FIELDS:
            raise InputError(f"--set {name[:80]!r}: no such field; known: {', '.join(FIELDS)}")
        try:
            given[name] = FIELDS[name](text)
        except ValueError as error:
            raise InputError(f"--set {name} must be {error}, not {text[:80]!r}") from None
    if "num_heads" in given and "attention_head_dim" in given:
        raise InputError("--set num_heads and --set attention_head_dim exclude each other")
    return given
