"""The noise levels, kind of prediction and clipping that a `scheduler_config.json` describes.

A scheduler of diffusers says two things: what the network was trained on (its noise levels, what
it predicts) and how to sample it (solver, spacing, order). bench samples with its own samplers, as
the draw of a run says, so the second kind is irrelevant, but for the bounds of the predicted x_0,
which belong to the checkpoint. All schedulers of `SCHEDULERS` share one forward process,
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, and the meaning of their betas; levels of
other kinds are those of `bench.models.sources.scheduler_continuous`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.models.sources import fields, scheduler_continuous
from bench.models.sources.fields import read as read
from bench.models.sources.scheduled import Noise, count, flag, number, own_steps, thresholds
from bench.models.sources.scheduler_fields import (
    CONTINUOUS,
    EDM,
    FIELDS,
    FLOW,
    FLOWS,
    OTHERS,
    SCHEDULE,
    SCHEDULERS,
)
from bench.system.components import beside as beside
from bench.system.quiet import quiet_import

if TYPE_CHECKING:
    from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample")
FLOW_PREDICTION = scheduler_continuous.FLOW
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
    None: None,
}


def table(said: Mapping[str, Any]) -> dict[str, fields.Field]:
    """The use of each field of a description, by its kind of scheduler."""
    name = said.get("_class_name")
    if name in EDM:
        return EDM[name]
    if name in FLOWS:
        return FLOWS[name]
    return FIELDS | CONTINUOUS if is_continuous(said) or is_flow(said) else FIELDS


def is_continuous(said: Mapping[str, Any]) -> bool:
    """Whether a scheduler of betas tells the network log(sigma) / 4 in the place of timesteps.

    diffusers does so for a v alone, and leaves timesteps as they are beside other predictions.
    """
    kinds = said.get("timestep_type"), said.get("prediction_type")
    return kinds == ("continuous", "v_prediction")


def is_flow(said: Mapping[str, Any]) -> bool:
    """Whether a scheduler of betas samples a flow instead."""
    return said.get("use_flow_sigmas") is True and said.get("prediction_type") == FLOW_PREDICTION


def relevant(said: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a description that decides the images, small enough for a card."""
    known = table(said)
    return {
        name: value
        for name, value in said.items()
        if name == "_class_name" or (name in known and known[name].use != "irrelevant")
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
    if not isinstance(name, str) or name not in {*SCHEDULERS, *EDM, *FLOWS}:
        raise InputError(f"{label} describes {_foreign(name)}")
    usual = fields.defaults(SCHEDULERS.get(name, name))
    fields.check(said, table(said), usual, label)
    for field, is_meant in (("timestep_type", is_continuous), ("use_flow_sigmas", is_flow)):
        if field not in usual and is_meant(said):
            raise InputError(f"{label}: {field} = {said[field]!r}, which a {name} does not have")
    full = usual | dict(said)
    if name in EDM:
        return scheduler_continuous.edm(full, label, predicts)
    if name in FLOWS or is_flow(said):
        return scheduler_continuous.flow(full, label, predicts)
    powers, predicted = _alpha_bar(name, full, usual, label), _predicts(said, label, predicts)
    if powers[-1] <= 0 and predicted == "epsilon":
        raise InputError(
            f"{label}: rescale_betas_zero_snr leaves noise alone at the last timestep, where a "
            f"prediction of the noise (epsilon) does not tell x_0"
        )
    noise = Noise(
        levels=NoiseLevels.discrete(powers),
        predicts=predicted,
        variance=_variance(full.get("variance_type"), label),
        clips=bool(flag(full, "clip_sample", label)) if "clip_sample" in full else None,
        clip_range=number(full, "clip_sample_range", 1.0, label),
        thresholds=thresholds(full, label),
        schedule=_words(full),
        own_steps=own_steps(full),
    )
    if is_continuous(said):
        return scheduler_continuous.continuous(full, powers.numpy(), label, noise)
    return noise


def _foreign(name: Any) -> str:
    known = ", ".join(name.removesuffix("Scheduler") for name in (*SCHEDULERS, *EDM, *FLOWS))
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
        why = f": {FLOW}, and its use_flow_sigmas is not true" if stated == FLOW_PREDICTION else ""
        raise InputError(
            f"{label}: prediction_type = {stated!r} is not supported{why}; bench understands "
            f"{', '.join(PREDICTIONS)}"
        )
    if said.get("predict_epsilon") is not None:
        old = "epsilon" if flag(said, "predict_epsilon", label) else "sample"
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
    total, trained = count(full, label), full.get("trained_betas")
    if trained is not None and (not isinstance(trained, list) or len(trained) != total):
        raise InputError(f"{label}: trained_betas must be {total} numbers, one for each timestep")
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


def _words(full: Mapping[str, Any]) -> str:
    kind = full["beta_schedule"]
    if full.get("trained_betas") is not None:
        kind = "trained betas"
    elif kind in ("linear", "scaled_linear", "sigmoid"):
        kind = f"{kind} {full['beta_start']:g} to {full['beta_end']:g}"
    rescaled = ", no signal at the last" if full.get("rescale_betas_zero_snr") else ""
    return f"{kind}, {full['num_train_timesteps']} timesteps{rescaled}"
