"""The noise of a checkpoint as a description tells it, and the values that descriptions hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """The noise of a checkpoint, as its scheduler and the defaults of the class, or its card,
    describe it.

    Attributes:
        levels: at which it was trained.
        predicts: a key of `bench.core.denoiser.PREDICTIONS`.
        variance: "fixed_small", "fixed_large", "learned_range"; None where it does not say.
        clips: whether x_0 is clamped; None where this kind of scheduler does not say.
        clip_range: x_0 is clamped to [-clip_range, clip_range].
        thresholds: (ratio, largest) of dynamic thresholding, None for none.
        schedule: the levels in words.
        sigma_data: as of `bench.core.denoiser.Denoiser`.
        own_steps: the levels that the scheduler itself walks through, in words; "" where nothing
            tells. A run takes those of its draw.
    """

    levels: NoiseLevels
    predicts: str
    variance: str | None
    clips: bool | None
    clip_range: float
    thresholds: tuple[float, float] | None
    schedule: str
    sigma_data: float | None = None
    own_steps: str = ""

    @property
    def alpha_bar(self) -> Tensor:
        """Signal power of the timesteps, float32 (T,).

        Raises:
            InputError: the levels are of another kind.
        """
        return self.levels.alpha_bar

    def bounds(self, clips: bool) -> str:
        """How the predicted x_0 is bounded, in words."""
        if self.thresholds:
            return "thresholded at the quantile {:g}, at most {:g}".format(*self.thresholds)
        return f"clamped to [-{self.clip_range:g}, {self.clip_range:g}]" if clips else "as it is"


def flag(full: Mapping[str, Any], field: str, label: str) -> bool | None:
    """The value of a field that is true, false or null.

    Raises:
        InputError: it is something else.
    """
    value = full.get(field)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{label}: {field} must be true or false, not {value!r}")
    return value


def number(full: Mapping[str, Any], field: str, usual: float, label: str) -> float:
    """The value of a field that is a positive number; `usual` where it is null or missing.

    Raises:
        InputError: it is something else.
    """
    value = usual if full.get(field) is None else full[field]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{label}: {field} must be a positive number, not {value!r}")
    return float(value)


def count(full: Mapping[str, Any], label: str) -> int:
    """The number of timesteps.

    Raises:
        InputError: it is no positive whole number, or larger than that of any training.
    """
    value = full["num_train_timesteps"]
    if type(value) is not int or not 1 <= value <= 100_000:
        raise InputError(f"{label}: num_train_timesteps must be a positive number, not {value!r}")
    return value


def thresholds(full: Mapping[str, Any], label: str) -> tuple[float, float] | None:
    """(ratio, largest) of dynamic thresholding, None for none.

    Raises:
        InputError: values that are none.
    """
    ratio = number(full, "dynamic_thresholding_ratio", 0.995, label)
    largest = number(full, "sample_max_value", 1.0, label)
    if ratio > 1:
        raise InputError(f"{label}: dynamic_thresholding_ratio = {ratio!r} is above 1")
    return (ratio, largest) if flag(full, "thresholding", label) else None


def own_steps(full: Mapping[str, Any]) -> str:
    """Which levels a scheduler of betas itself walks through, in words."""
    for field, word in (
        ("use_karras_sigmas", "karras"),
        ("use_exponential_sigmas", "exponential"),
        ("use_beta_sigmas", "beta"),
        ("use_lu_lambdas", "lu"),
    ):
        if full.get(field):
            return f"{word} sigmas"
    offset = full.get("steps_offset")
    return f"{full.get('timestep_spacing') or 'leading'}{f', offset {offset}' if offset else ''}"
