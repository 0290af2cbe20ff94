"""What a `scheduler_config.json` leaves to the defaults of its class, told as assumptions.

A description of an early version of diffusers, or one that a person shortened, does not say all
that decides images. The defaults of the installed class take its place, and they may be others
than those of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.models.sources import fields
from bench.models.sources.scheduler_config import SCHEDULERS, is_flow, table
from bench.models.sources.scheduler_fields import EDM, FLOWS

# The betas by their ends.
_ENDS = ("linear", "scaled_linear", "sigmoid")
# What decides nothing where x_0 is not bounded.
_UNBOUNDED = ("thresholding", "dynamic_thresholding_ratio", "sample_max_value")


def assumed(
    said: Mapping[str, Any], label: str, predicts: str | None, clips: bool, learns: bool
) -> list[str]:
    """What a description that was understood does not say and that decides images, a line each.

    Args:
        said: the description, with its `_class_name`.
        label: where it stands.
        predicts: the card's word, None where it has none.
        clips: whether x_0 is clamped where the class does not say.
        learns: whether the network predicts the variance itself.
    """
    name = said["_class_name"]
    usual = fields.defaults(SCHEDULERS.get(name, name))
    # What is null says nothing: bench takes the default for it.
    stated = {name: value for name, value in said.items() if value is not None}
    full = {**usual, **stated}
    untold = fields.untold(stated, table(said), usual)
    if name in {*EDM, *FLOWS} or is_flow(said):
        left = {k: v for k, v in untold.items() if k not in _UNBOUNDED or full.get("thresholding")}
        return [_left(left, label)] if left else []
    for field in _idle(full, learns):
        untold.pop(field, None)
    lines = []
    prediction = untold.pop("prediction_type", None)
    if prediction and predicts is None and "predict_epsilon" not in stated:
        lines.append(f"predicts epsilon: {label} does not say (--set predicts=...)")
    if untold:
        lines.append(_left(untold, label))
    if "clip_sample" not in full and not full.get("thresholding"):
        bounds = "clamped to [-1, 1]" if clips else "not clamped"
        lines.append(f"the predicted x_0 is {bounds}: {label} does not say")
    if full.get("variance_type") is None and not learns:
        lines.append(f"variance fixed_small, of ddpm's steps: {label} does not say")
    return lines


def _left(untold: Mapping[str, Any], label: str) -> str:
    return f"{fields.words(untold)}: diffusers' defaults, {label} does not say"


def _idle(full: Mapping[str, Any], learns: bool) -> list[str]:
    """Fields that decide nothing beside the others."""
    idle = ["variance_type"] if learns else []
    if full.get("trained_betas") is not None:
        idle += ["beta_schedule", "beta_start", "beta_end"]
    elif full["beta_schedule"] not in _ENDS:
        idle += ["beta_start", "beta_end"]
    if full.get("thresholding"):
        idle += ["clip_sample", "clip_sample_range"]
    else:
        idle += ["dynamic_thresholding_ratio", "sample_max_value"]
    if not full.get("clip_sample"):
        idle.append("clip_sample_range")
    return idle
