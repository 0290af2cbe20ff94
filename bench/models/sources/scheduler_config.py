"""The noise schedule, kind of prediction and clipping that a `scheduler_config.json` describes.

A scheduler of diffusers says two things: what the network was trained on (betas, what it predicts)
and how to sample it (solver, spacing, order). bench samples with its own DDIM and DDPM, as the
draw of a run says, so the second kind is irrelevant, but for the bounds of the predicted x_0,
which belong to the checkpoint. All schedulers of `SCHEDULERS` share one forward process,
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, and the meaning of their betas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.models.sources import fields
from bench.models.sources.fields import read as read
from bench.models.sources.scheduler_fields import FIELDS, FLOW, OTHERS, SCHEDULE, SCHEDULERS
from bench.system.components import beside as beside
from bench.system.quiet import quiet_import

if TYPE_CHECKING:
    from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample")
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
    None: None,
}


@dataclass(frozen=True)
class Noise:
    """The noise of a checkpoint, as its scheduler and the defaults of the class describe it.

    Attributes:
        alpha_bar: float32 (T,).
        predicts: "epsilon", "v_prediction" or "sample".
        variance: "fixed_small", "fixed_large", "learned_range"; None where it does not say.
        clips: whether x_0 is clamped; None where this kind of scheduler does not say.
        clip_range: x_0 is clamped to [-clip_range, clip_range].
        thresholds: (ratio, largest) of dynamic thresholding, None for none.
        schedule: the betas in words.
    """

    alpha_bar: Tensor
    predicts: str
    variance: str | None
    clips: bool | None
    clip_range: float
    thresholds: tuple[float, float] | None
    schedule: str

    def bounds(self, clips: bool) -> str:
        """How the predicted x_0 is bounded, in words."""
        if self.thresholds:
            return "thresholded at the quantile {:g}, at most {:g}".format(*self.thresholds)
        return f"clamped to [-{self.clip_range:g}, {self.clip_range:g}]" if clips else "as it is"


def relevant(said: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a description that decides the images, small enough for a card."""
    return {
        name: value
        for name, value in said.items()
        if name == "_class_name" or (name in FIELDS and FIELDS[name].use != "irrelevant")
    }


def understand(said: Mapping[str, Any], label: str, predicts: str | None = None) -> Noise:
    """Read the noise of a checkpoint from the description of its scheduler.

    Args:
        said: the description, with its `_class_name`.
        label: where it stands, for errors.
        predicts: the card's word, where the description does not have one.

    Raises:
        InputError: another kind of diffusion, a contradiction, or a field that is not honoured.
    """
    name = said.get("_class_name")
    if not isinstance(name, str) or name not in SCHEDULERS:
        raise InputError(f"{label} describes {_foreign(name)}")
    usual = fields.defaults(SCHEDULERS[name])
    fields.check(said, FIELDS, usual, label)
    full = usual | dict(said)
    powers, predicted = _alpha_bar(name, full, usual, label), _predicts(said, label, predicts)
    if powers[-1] <= 0 and predicted == "epsilon":
        raise InputError(
            f"{label}: rescale_betas_zero_snr leaves noise alone at the last timestep, where a "
            f"prediction of the noise (epsilon) does not tell x_0"
        )
    return Noise(
        alpha_bar=powers,
        predicts=predicted,
        variance=_variance(full.get("variance_type"), label),
        clips=bool(_flag(full, "clip_sample", label)) if "clip_sample" in full else None,
        clip_range=_number(full, "clip_sample_range", 1.0, label),
        thresholds=_thresholds(full, label),
        schedule=_words(full),
    )


def _foreign(name: Any) -> str:
    known = ", ".join(name.removesuffix("Scheduler") for name in SCHEDULERS)
    if not isinstance(name, str):
        return f"no scheduler of diffusers (no _class_name): bench understands those named {known}"
    for start, why in OTHERS.items():
        if name.startswith(start):
            return f"a {name}, which is not supported: {why}; bench understands {known}"
    return f"a {name}, which bench does not know; it understands {known}"


def _predicts(said: Mapping[str, Any], label: str, card: str | None) -> str:
    stated = said.get("prediction_type")
    if "prediction_type" in said and stated is None and card is None:
        raise InputError(
            f"{label}: prediction_type is null, which says nothing: say it, predicts in the "
            f"card's config or --set predicts={'|'.join(PREDICTIONS)}"
        )
    if stated is not None and stated not in PREDICTIONS:
        why = f": {FLOW}" if stated == "flow_prediction" else ""
        raise InputError(
            f"{label}: prediction_type = {stated!r} is not supported{why}; bench understands "
            f"{', '.join(PREDICTIONS)}"
        )
    if said.get("predict_epsilon") is not None:
        old = "epsilon" if _flag(said, "predict_epsilon", label) else "sample"
        if stated and stated != old:
            raise InputError(
                f"{label}: predict_epsilon = {said['predict_epsilon']!r} contradicts "
                f"prediction_type = {stated!r}: take one of them out of the file"
            )
        stated = old
    if stated and card and stated != card:
        raise InputError(f"the card says predicts: {card}, {label} says {stated}")
    return stated or card or "epsilon"


def _variance(stated: Any, label: str) -> str | None:
    if isinstance(stated, list | dict) or stated not in VARIANCES:
        known = ", ".join(str(word) for word in VARIANCES if word)
        raise InputError(
            f"{label}: variance_type = {stated!r} is not supported; bench understands {known}"
        )
    return VARIANCES[stated]


def _alpha_bar(name: str, full: Mapping[str, Any], usual: Mapping[str, Any], label: str) -> Tensor:
    import torch

    for field in SCHEDULE:
        if field not in usual and full.get(field):
            raise InputError(f"{label}: {field} = {full[field]!r}, which a {name} does not have")
    count, trained = full["num_train_timesteps"], full.get("trained_betas")
    if type(count) is not int or not 1 <= count <= 100_000:
        raise InputError(f"{label}: num_train_timesteps must be a positive number, not {count!r}")
    if trained is not None and (not isinstance(trained, list) or len(trained) != count):
        raise InputError(f"{label}: trained_betas must be {count} numbers, one for each timestep")
    for field in ("beta_start", "beta_end"):
        value = full[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise InputError(f"{label}: {field} must be a number between 0 and 1, not {value!r}")
    wanted = {field: full[field] for field in SCHEDULE if field in usual}
    try:
        with quiet_import():
            import diffusers

            made = getattr(diffusers, SCHEDULERS[name])(**wanted)
    # The constructors raise nearly every exception on bad arguments.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{label}: beta_schedule = {full['beta_schedule']!r} makes no betas ({reason})"
        ) from None
    alpha_bar = made.alphas_cumprod.to(torch.float32).clone()
    if not ((made.betas > 0) & (made.betas <= 1)).all() or not (alpha_bar[:-1] > 0).all():
        raise InputError(f"{label}: the betas must lie between 0 and 1")
    return alpha_bar


def _thresholds(full: Mapping[str, Any], label: str) -> tuple[float, float] | None:
    ratio = _number(full, "dynamic_thresholding_ratio", 0.995, label)
    largest = _number(full, "sample_max_value", 1.0, label)
    if ratio > 1:
        raise InputError(f"{label}: dynamic_thresholding_ratio = {ratio!r} is above 1")
    return (ratio, largest) if _flag(full, "thresholding", label) else None


def _flag(full: Mapping[str, Any], field: str, label: str) -> bool | None:
    value = full.get(field)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{label}: {field} must be true or false, not {value!r}")
    return value


def _number(full: Mapping[str, Any], field: str, usual: float, label: str) -> float:
    value = usual if full.get(field) is None else full[field]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{label}: {field} must be a positive number, not {value!r}")
    return float(value)


def _words(full: Mapping[str, Any]) -> str:
    kind = full["beta_schedule"]
    if full.get("trained_betas") is not None:
        kind = "trained betas"
    elif kind in ("linear", "scaled_linear", "sigmoid"):
        kind = f"{kind} {full['beta_start']:g} to {full['beta_end']:g}"
    rescaled = ", no signal at the last" if full.get("rescale_betas_zero_snr") else ""
    return f"{kind}, {full['num_train_timesteps']} timesteps{rescaled}"
