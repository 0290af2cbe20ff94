"""Spacings: which of a network's noise levels a sampler walks through.

`trailing`, `leading` and `linspace` (Lin et al. 2024, table 2) are equal steps in the table of the
training, as `timestep_spacing` of diffusers. `karras` and `exponential` are those of sigma, which
is noise / signal, between the ends of the table, whatever the table,

    karras        sigma_k = (a + k / (n - 1) (b - a))^7, a and b the seventh roots of the largest
                  and the least sigma (Karras et al. 2022, equation 5)
    exponential   log sigma_k, in equal steps.
"""

from __future__ import annotations

import numpy as np

from bench.core.errors import InputError

OF_TABLE = ("trailing", "leading", "linspace")
OF_SIGMA = ("karras", "exponential")
SPACINGS = (*OF_TABLE, *OF_SIGMA)
RHO = 7.0


def require(spacing: str) -> None:
    """Refuse a word that is no spacing.

    Raises:
        InputError: it is none.
    """
    if spacing not in SPACINGS:
        known = f"{', '.join(SPACINGS[:-1])} or {SPACINGS[-1]}"
        raise InputError(f"unknown spacing {spacing!r}: the noise levels are {known}")


def positions(total: int, count: int, spacing: str, continuous: bool) -> np.ndarray:
    """Positions in a table of levels, falling, float64 (count,).

    Args:
        total: levels T of the table, at positions 0 (the least noise) to T - 1.
        count: how many are taken.
        spacing: of OF_TABLE.
        continuous: whether positions may lie between those of the table; else they are rounded as
            in diffusers.
    """
    if spacing == "trailing":
        # By rounding errors there may be one too many, as in diffusers for 61 of 1000.
        falling = np.arange(total, 0, -total / count)[:count]
        return np.maximum(falling - 1, 0) if continuous else np.round(falling) - 1
    if spacing == "leading":
        return np.arange(count)[::-1] * float(total // count)
    even = np.linspace(0, total - 1, count)[::-1]
    return even if continuous else even.round()


def sigmas(largest: float, least: float, count: int, spacing: str) -> np.ndarray:
    """Falling sigmas of OF_SIGMA, both ends among them, float64 (count,); of one, the largest."""
    ramp = np.linspace(0, 1, count)
    if spacing == "exponential":
        rising: np.ndarray = largest * (least / largest) ** ramp
        return rising
    a, b = largest ** (1 / RHO), least ** (1 / RHO)
    chosen: np.ndarray = (a + ramp * (b - a)) ** RHO
    return chosen
