"""The noise schedule of a file of weights: of the card's word, of its scheduler, or of the file.

Trainings of lucidrains' kind and of latent-diffusion keep their betas as buffers beside the
network; `schedule: file` means these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.models.networks import USUAL_TIMESTEPS
from bench.models.schedules import alpha_bar
from bench.models.sources import said_levels, scheduler_config
from bench.models.sources.scheduled import Noise
from bench.models.sources.state_dicts import Part, Weights

FILE = "file"
# Two schedules that differ by less in any alpha_bar are the same to float32 and its products.
SAME = 1e-4
# Ends of the linear schedule of 1,000 timesteps (Ho et al. 2020).
FIRST, LAST = 1e-4, 0.02


def of(config: Mapping[str, Any], content: Weights, part: Part, source: str) -> Noise:
    """The noise schedule and prediction of a complete config.

    Args:
        config: the config of a card, complete.
        content: the content of the file.
        part: the part of the file whose weights are taken.
        source: the source of the card; ADM's linear schedule is its own.

    Raises:
        InputError: no schedule in the file, or another one than the card says.
    """
    lying = in_file(content, part)
    levels = config["levels"]
    if not said_levels.is_fractional(levels):
        if lying is not None:
            raise InputError(f"levels: {levels['kind']}, but the file holds betas of timesteps")
        args = config["predicts"], config["variance"], config["timesteps"]
        return said_levels.noise(levels, *args)
    if config["scheduler"] is not None:
        label = "the card's scheduler"
        noise = scheduler_config.understand(config["scheduler"], label, config["predicts"])
        if noise.levels.is_schedule:
            _check_same(noise.alpha_bar, lying, label)
        elif lying is not None:
            raise InputError(f"{label} has {noise.levels}, but the file holds betas of timesteps")
        return noise
    timesteps = config["timesteps"]
    if config["schedule"] != FILE:
        powers = of_word(config["schedule"], timesteps, source)
        _check_same(powers, lying, f"schedule: {config['schedule']} of {timesteps} timesteps")
    elif lying is None:
        raise InputError("schedule: file, but the file holds no betas: write cosine or linear")
    elif len(lying) != timesteps:
        raise InputError(f"timesteps: {timesteps}, but the file holds {len(lying)} betas")
    else:
        powers = lying.to(torch.float32)
    between = ", and between" if levels else ""
    make = NoiseLevels.discrete if levels is None else NoiseLevels.fractional
    return Noise(
        levels=make(powers),
        predicts=config["predicts"],
        variance=config["variance"],
        clips=True,
        clip_range=1.0,
        thresholds=None,
        schedule=f"{config['schedule']}, {timesteps} timesteps{between}",
    )


def of_word(schedule: str, timesteps: int, source: str) -> Tensor:
    """alpha_bar of a schedule by name, float32 (T,).

    ADM's linear schedule of T timesteps has the betas of 1,000 timesteps times 1000 / T, so that
    the last image is noise whatever T is (Nichol and Dhariwal 2021); diffusers' has the same ends
    whatever T is.
    """
    if source == "adm" and schedule == "linear" and timesteps != USUAL_TIMESTEPS:
        scale = USUAL_TIMESTEPS / timesteps
        if scale * LAST >= 1:
            raise InputError(f"schedule: linear has no {timesteps} timesteps in ADM's code")
        betas = torch.linspace(scale * FIRST, scale * LAST, timesteps, dtype=torch.float64)
        return (1 - betas).cumprod(0).to(torch.float32)
    return alpha_bar(schedule, timesteps)


def in_file(content: Weights, part: Part) -> Tensor | None:
    """The schedule that lies in a file beside a part, float64 (T,); None for none.

    Raises:
        InputError: it is no schedule, or the file holds several that differ.
    """
    places = dict(content.alpha_bars)
    near = [p for p in places if not p or part.name == p or part.name.startswith(f"{p}.")]
    chosen = [places[max(near, key=len)]] if near else list(places.values())
    for other in chosen[1:]:
        if other.shape != chosen[0].shape or (other - chosen[0]).abs().max() > SAME:
            raise InputError("the file holds several noise schedules: save one network alone")
    if not chosen:
        return None
    first = chosen[0]
    good = torch.isfinite(first).all() and (first > 0).all() and (first <= 1).all()
    if not good or (first.diff() > 0).any():
        raise InputError("the betas in the file are no noise schedule: alpha_bar must fall to 0")
    return first


def objective(content: Weights, powers: Tensor) -> str:
    """The kind of prediction in lucidrains' trainer, by its weights of the loss; "" unknown.

    They are 1, the signal-to-noise ratio s, or s / (1 + s), for epsilon, x_0 and v.
    """
    s = powers / (1 - powers).clamp(min=1e-20)
    known = {"epsilon": torch.ones_like(s), "sample": s, "v_prediction": s / (1 + s)}
    for weights in content.objectives.values():
        if len(weights) != len(s):
            continue
        # At the end of the schedule the ratio is small, where none of the three is clipped.
        end = slice(-(len(s) // 4) or None, None)
        for name, wanted in known.items():
            if torch.allclose(weights.double()[end], wanted[end], rtol=1e-3, atol=1e-9):
                return name
    return ""


def _check_same(powers: Tensor, lying: Tensor | None, label: str) -> None:
    if lying is None:
        return
    if len(lying) != len(powers) or (lying - powers.double()).abs().max() > SAME:
        raise InputError(
            f"{label} is not the schedule that lies in the file, of {len(lying)} timesteps: "
            f"write schedule: file, timesteps: {len(lying)}"
        )
