"""Schedulers of diffusers whose networks see a continuous noise level, which is no timestep.

EDM          x = x_0 + sigma eps; the network is F of D = c_skip x + c_out F(c_in x; c_noise),
             or -F where prediction_type is v_prediction (Karras et al. 2022)
flow         x = (1 - t) x_0 + t eps; it predicts eps - x_0, and is told T t
continuous   the sigmas of betas, of which it is told log(sigma) / 4; it predicts v of
             c_in x (EulerDiscreteScheduler, timestep_type continuous)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.spacings import RHO
from bench.models.sources.scheduled import Noise, count, flag, number, thresholds

# The words of EDM's schedulers for what the network predicts, and of bench.
EDM_PREDICTS = {"epsilon": "edm", "v_prediction": "v_prediction"}
FLOW = "flow_prediction"


def edm(full: Mapping[str, Any], label: str, card: str | None) -> Noise:
    """The noise of a complete description of an EDM scheduler.

    Args:
        full: the fields of the description, with the defaults of the class.
        label: where it stands.
        card: the card's word for what the network predicts, None where it has none.

    Raises:
        InputError: a value that is not understood, or another word than the card's.
    """
    stated, curve = full["prediction_type"], full["sigma_schedule"]
    # Of others diffusers' own code makes nothing either.
    if isinstance(stated, list | dict) or stated not in EDM_PREDICTS:
        raise InputError(
            f"{label}: prediction_type = {stated!r} is not supported; bench understands epsilon "
            f"(F of EDM's preconditioning) and v_prediction (-F)"
        )
    if curve not in ("karras", "exponential"):
        raise InputError(f"{label}: sigma_schedule = {curve!r} is neither karras nor exponential")
    low, high = _range(full, label)
    rho = number(full, "rho", RHO, label) if curve == "karras" else None
    total, data = count(full, label), number(full, "sigma_data", 0.5, label)
    return Noise(
        levels=NoiseLevels.sigmas(low, high, total, rho, "c_noise"),
        predicts=_same(EDM_PREDICTS[stated], card, label),
        variance=None,
        clips=False,
        clip_range=1.0,
        thresholds=thresholds(full, label),
        schedule=f"EDM, sigma {low:g} to {high:g}, sigma_data {data:g}",
        sigma_data=data,
        own_steps=f"{curve} sigmas" + (f", rho {rho:g}" if rho else ""),
    )


def flow(full: Mapping[str, Any], label: str, card: str | None) -> Noise:
    """The noise of a complete description of a rectified flow; arguments as of `edm`."""
    field = "shift" if "shift" in full else "flow_shift"
    shift, total = number(full, field, 1.0, label), count(full, label)
    shifted = f", shift {shift:g}" if shift != 1 else ""
    return Noise(
        levels=NoiseLevels.flow(total, shift),
        predicts=_same(FLOW, card, label),
        variance=None,
        clips=False,
        clip_range=1.0,
        thresholds=thresholds(full, label),
        schedule=f"flow, {total} timesteps{shifted}",
        own_steps=f"flow sigmas{shifted}",
    )


def continuous(full: Mapping[str, Any], alpha_bar: np.ndarray, label: str, own: Noise) -> Noise:
    """The noise of betas whose network is told log(sigma) / 4.

    Args:
        full: as of `edm`.
        alpha_bar: of its betas, (T,).
        label: where it stands.
        own: what the description says apart from the levels.
    """
    power = alpha_bar.astype(np.float64)
    if power[-1] <= 0:
        raise InputError(
            f"{label}: its betas leave no signal at the last timestep, which has no sigma for "
            f"timestep_type = 'continuous'"
        )
    sigma = np.sqrt((1 - power) / power)
    # As diffusers: the range is stated for these alone.
    curves = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
    is_ranged = any(flag(full, name, label) for name in curves)
    if is_ranged:
        ends = {"sigma_min": float(sigma[0]), "sigma_max": float(sigma[-1])}
        low, high = _range({**ends, **{k: full[k] for k in ends if full.get(k)}}, label)
        rho = RHO if full.get("use_karras_sigmas") else None
        levels = NoiseLevels.sigmas(low, high, len(power), rho, "c_noise")
    else:
        levels = NoiseLevels("exploding", np.ones_like(sigma), sigma, True, "c_noise")
    words = f"sigma {levels.noise[0]:.3g} to {levels.noise[-1]:.4g}"
    return Noise(
        levels=levels,
        predicts=own.predicts,
        variance=own.variance,
        clips=False,
        clip_range=own.clip_range,
        thresholds=own.thresholds,
        schedule=words if is_ranged else f"{words}, of {own.schedule}",
        sigma_data=1.0,
        own_steps=own.own_steps,
    )


def _range(full: Mapping[str, Any], label: str) -> tuple[float, float]:
    low, high = (number(full, name, 1.0, label) for name in ("sigma_min", "sigma_max"))
    if low >= high:
        raise InputError(f"{label}: sigma_min {low:g} is not below sigma_max {high:g}")
    return low, high


def _same(stated: str, card: str | None, label: str) -> str:
    if card not in (None, stated):
        raise InputError(f"the card says predicts: {card}, {label} says {stated}")
    return stated
