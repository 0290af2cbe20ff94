"""The noise levels of a network: at each of them it sees x = signal x_0 + noise eps.

eps is standard normal noise. All that matters of a level is the ratio of the two scales; how large
both are is a convention of the training, one of three:

    preserving   signal^2 + noise^2 = 1    DDPM: signal = sqrt(alpha_bar) (Ho et al. 2020)
    exploding    signal = 1                noise = sigma (Song et al. 2021; Karras et al. 2022)
    flow         signal + noise = 1        noise = t (Lipman et al. 2023; Liu et al. 2023)

A network was trained at a table of levels, or at all levels between the ends of one. What it is
told of a level, an index or a function of sigma, is its own affair (`Denoiser.inputs`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# By convention, the factor by which the scales (r, 1) of a ratio r are too large.
CONVENTIONS: dict[str, Callable[[float], float]] = {
    "preserving": lambda r: math.hypot(r, 1),
    "exploding": lambda r: r,
    "flow": lambda r: r + 1,
}


@dataclass(frozen=True)
class Level:
    """x = signal x_0 + noise eps.

    Attributes:
        signal: scale of the image.
        noise: scale of the noise.
        index: the level in the table of the training that is nearest, 0 having the least noise;
            -1 for no noise at all, where no network is asked.
    """

    signal: float
    noise: float
    index: int


# Where sampling ends.
CLEAN = Level(1.0, 0.0, -1)


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """The levels at which a network was trained.

    Attributes:
        convention: a key of CONVENTIONS.
        signal, noise: scales of the table, float64 (T,), from the least noise to the most.
        continuous: whether the network also takes what lies between the levels of the table.
    """

    convention: str
    signal: np.ndarray
    noise: np.ndarray
    continuous: bool = False

    @classmethod
    def discrete(cls, alpha_bar: Tensor) -> NoiseLevels:
        """Those of a schedule that preserves variance; alpha_bar is its signal power, (T,)."""
        power = alpha_bar.detach().cpu().double().numpy()
        return cls("preserving", np.sqrt(power), np.sqrt(1 - power))

    @classmethod
    def sigmas(cls, low: float, high: float, count: int = 1000) -> NoiseLevels:
        """All sigma from `low` to `high`, where variance explodes. The table, which the spacings
        of `steps` choose from, has `count` levels at equal ratios."""
        sigma = np.geomspace(low, high, count)
        return cls("exploding", np.ones(count), sigma, continuous=True)

    @classmethod
    def flow(cls, count: int = 1000) -> NoiseLevels:
        """All times of a flow from images to noise; the table is t = 1/T, 2/T, ... 1."""
        t = np.arange(1, count + 1) / count
        return cls("flow", 1 - t, t, continuous=True)

    def __len__(self) -> int:
        """Levels T of the table."""
        return len(self.signal)

    def __str__(self) -> str:
        if self.convention == "preserving":
            return f"alpha_bar {self.signal[0] ** 2:.4g} to {self.signal[-1] ** 2:.2g}"
        return f"{self.convention}, noise {self.noise[0]:.4g} to {self.noise[-1]:.4g}"

    @property
    def is_schedule(self) -> bool:
        """Whether they are the timesteps of a schedule with alpha_bar, and nothing between."""
        return self.convention == "preserving" and not self.continuous

    @property
    def alpha_bar(self) -> Tensor:
        """Signal power of a discrete schedule, float32 (T,) on the CPU, as it was given.

        Raises:
            InputError: the levels are of another kind.
        """
        import torch

        if not self.is_schedule:
            raise InputError(f"its noise levels have no timesteps with alpha_bar ({self})")
        return torch.from_numpy(np.square(self.signal)).float()

    @property
    def log_ratios(self) -> np.ndarray:
        """log (signal^2 / noise^2) of the table, (T,), falling."""
        with np.errstate(divide="ignore"):
            ratios: np.ndarray = 2 * (np.log(self.signal) - np.log(self.noise))
        return ratios

    def at(self, index: int) -> Level:
        """A level of the table."""
        return Level(float(self.signal[index]), float(self.noise[index]), index)

    def each(self, index: Tensor) -> Level:
        """A level of the table for each image: in the place of numbers there are tensors, scales
        float32 (B, 1, 1, 1) and the index int64 (B,), wherever the index is."""
        import torch

        chosen = index.cpu().numpy()
        signal, noise = (
            torch.from_numpy(scale[chosen]).float().to(index.device).view(-1, 1, 1, 1)
            for scale in (self.signal, self.noise)
        )
        values: Any = signal, noise, index
        return Level(*values)

    def near(self, log_ratio: float) -> Level:
        """The level whose log (signal^2 / noise^2) is this; the nearest that there is."""
        ratios = self.log_ratios
        index = int(np.abs(ratios - log_ratio).argmin())
        if not self.continuous or not ratios[-1] < log_ratio < ratios[0]:
            return self.at(index)
        ratio = math.exp(log_ratio / 2)
        noise = 1 / CONVENTIONS[self.convention](ratio)
        return Level(ratio * noise, noise, index)

    def deviation(self, level: Level) -> float:
        """Deviation of the normal numbers that sampling starts from at a level: 1 but where
        variance explodes, though a little of the signal is left there."""
        return level.noise if self.convention == "exploding" else 1.0

    def steps(self, count: int, spacing: str) -> list[Level]:
        """The levels that a sampler walks through, from the most noise to the least, then CLEAN.

        Args:
            count: of levels before the last.
            spacing: diffusers' `timestep_spacing`: "trailing", "leading" or "linspace" (Lin et al.
                2024, table 2).

        Raises:
            InputError: another spacing.
        """
        total = len(self)
        if spacing == "trailing":
            # By rounding errors there may be one too many, as in diffusers for 61 of 1000.
            indices = (np.round(np.arange(total, 0, -total / count)) - 1)[:count]
        elif spacing == "leading":
            indices = np.arange(count)[::-1] * (total // count)
        elif spacing == "linspace":
            indices = np.linspace(0, total - 1, count).round()[::-1]
        else:
            raise InputError(
                f"unknown spacing {spacing!r}: the timesteps are trailing, leading or linspace"
            )
        return [*(self.at(int(index)) for index in indices), CLEAN]
