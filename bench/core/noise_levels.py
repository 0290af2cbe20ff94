"""The noise levels of a network: at each of them it sees x = signal x_0 + noise eps.

eps is standard normal noise. All that matters of a level is the ratio of the two scales; how large
both are is a convention of the training, one of three:

    preserving   signal^2 + noise^2 = 1    DDPM: signal = sqrt(alpha_bar) (Ho et al. 2020)
    exploding    signal = 1                noise = sigma (Song et al. 2021; Karras et al. 2022)
    flow         signal + noise = 1        noise = t (Lipman et al. 2023; Liu et al. 2023)

A network was trained at a table of levels, or at all levels between the ends of one; a position
between two of the table is on their `Ramp`. The number by which it is told its level is one of
TOLD, where t = noise / (signal + noise) and sigma = noise / signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core import spacings
from bench.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# By convention, the factor by which the scales (r, 1) of a ratio r are too large.
CONVENTIONS: dict[str, Callable[[float], float]] = {
    "preserving": lambda r: math.hypot(r, 1),
    "exploding": lambda r: r,
    "flow": lambda r: r + 1,
}
# What a network may be told of a level, from the signal, the noise and the number of levels T of
# the table; "index" is the position in the table.
TOLD: dict[str, Callable[[Any, Any, int], Any]] = {
    "index": lambda signal, noise, count: None,
    "timestep": lambda signal, noise, count: count * noise / (signal + noise),
    "time": lambda signal, noise, count: noise / (signal + noise),
    "reversed_time": lambda signal, noise, count: signal / (signal + noise),
    "sigma": lambda signal, noise, count: noise / signal,
    "log_sigma": lambda signal, noise, count: np.log(noise / signal),
    "c_noise": lambda signal, noise, count: np.log(noise / signal) / 4,
}


@dataclass(frozen=True)
class Ramp:
    """The scale on which positions between two levels of a table lie, rising with the noise.

    Attributes:
        kind: "angle", of (signal, noise) in the plane; "log", log sigma; "power", the `number`-th
            root of sigma (rho of Karras et al. 2022, equation 5); "share", t of a flow before its
            `number`, the shift s, made it s t / (1 + (s - 1) t) (Esser et al. 2024, equation 23).
        number: of the kind.
    """

    kind: str
    number: float = 1.0

    def of(self, ratio: np.ndarray | float) -> Any:
        """The scale at a ratio signal / noise."""
        if self.kind == "angle":
            return np.arctan2(1.0, ratio)
        if self.kind == "share":
            return 1 / (1 + self.number * np.asarray(ratio))
        with np.errstate(divide="ignore"):
            logs = -np.log(ratio)
        return logs if self.kind == "log" else np.exp(logs / self.number)

    def ratio(self, value: float) -> float:
        """The ratio signal / noise at a place of the scale."""
        if self.kind == "angle":
            return math.cos(value) / math.sin(value)
        if self.kind == "share":
            return (1 / value - 1) / self.number
        return math.exp(-value) if self.kind == "log" else value**-self.number


# Of levels that have none of their own.
RAMPS = {"preserving": Ramp("angle"), "exploding": Ramp("log"), "flow": Ramp("share")}


@dataclass(frozen=True)
class Level:
    """x = signal x_0 + noise eps.

    Attributes:
        signal: scale of the image.
        noise: scale of the noise.
        index: the level in the table of the training that is nearest, 0 having the least noise;
            -1 for no noise at all, where no network is asked.
        told: the number by which the network knows the level; None for the index.
    """

    signal: float
    noise: float
    index: int
    told: float | None = None


# Where sampling ends.
CLEAN = Level(1.0, 0.0, -1)


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """The levels at which a network was trained.

    Attributes:
        convention: a key of CONVENTIONS.
        signal, noise: scales of the table, float64 (T,), from the least noise to the most.
        continuous: whether the network also takes what lies between the levels of the table.
        told: what it is told of a level, a key of TOLD.
        ramp: of positions between the levels of the table; None for that of the convention.
    """

    convention: str
    signal: np.ndarray
    noise: np.ndarray
    continuous: bool = False
    told: str = "index"
    ramp: Ramp | None = None

    @classmethod
    def discrete(cls, alpha_bar: Tensor) -> NoiseLevels:
        """Those of a schedule that preserves variance; alpha_bar is its signal power, (T,)."""
        power = alpha_bar.detach().cpu().double().numpy()
        return cls("preserving", np.sqrt(power), np.sqrt(1 - power))

    @classmethod
    def fractional(cls, alpha_bar: Tensor) -> NoiseLevels:
        """Those of a schedule whose network takes timesteps between two whole ones as well."""
        return replace(cls.discrete(alpha_bar), continuous=True)

    @classmethod
    def sigmas(
        cls,
        low: float,
        high: float,
        count: int = 1000,
        rho: float | None = None,
        told: str = "sigma",
    ) -> NoiseLevels:
        """All sigma from `low` to `high`, where variance explodes. The table, which the spacings
        of `steps` choose from, has `count` levels at equal ratios, or in equal steps of the root
        `rho` (Karras et al. 2022: 7)."""
        if rho is None:
            sigma, ramp = np.geomspace(low, high, count), None
        else:
            sigma = np.linspace(low ** (1 / rho), high ** (1 / rho), count) ** rho
            ramp = Ramp("power", rho)
        return cls("exploding", np.ones(count), sigma, True, told, ramp)

    @classmethod
    def flow(cls, count: int = 1000, shift: float = 1.0, told: str = "timestep") -> NoiseLevels:
        """All times of a flow from images to noise; the table is t = 1/T, 2/T, ... 1, shifted to
        s t / (1 + (s - 1) t) (Esser et al. 2024, equation 23)."""
        t = np.arange(1, count + 1) / count
        t = shift * t / (1 + (shift - 1) * t)
        return cls("flow", 1 - t, t, True, told, Ramp("share", shift))

    def __len__(self) -> int:
        """Levels T of the table."""
        return len(self.signal)

    def __str__(self) -> str:
        if self.convention == "preserving":
            between = ", and between" if self.continuous else ""
            return f"alpha_bar {self.signal[0] ** 2:.4g} to {self.signal[-1] ** 2:.2g}{between}"
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
        return self._level(float(self.signal[index]), float(self.noise[index]), index, index)

    def between(self, position: float) -> Level:
        """The level at a position in the table, 0 to T - 1; of discrete ones the nearest."""
        index = round(position)
        if not self.continuous or position == index:
            return self.at(index)
        below = math.floor(position)
        ramp = self._ramp()
        first, second = (float(self._places(i)) for i in (below, below + 1))
        ratio = ramp.ratio(first + (position - below) * (second - first))
        return self._of_ratio(ratio, index, position)

    def _ramp(self) -> Ramp:
        return self.ramp or RAMPS[self.convention]

    def _places(self, index: int | slice) -> Any:
        """Levels of the table on the ramp."""
        return self._ramp().of(self.signal[index] / self.noise[index])

    def _of_ratio(self, ratio: float, index: int, position: float) -> Level:
        noise = 1 / CONVENTIONS[self.convention](ratio)
        return self._level(ratio * noise, noise, index, position)

    def _level(self, signal: float, noise: float, index: int, position: float) -> Level:
        """With what the network is told of it."""
        if self.told != "index":
            return Level(signal, noise, index, float(TOLD[self.told](signal, noise, len(self))))
        return Level(signal, noise, index, float(position) if self.continuous else None)

    def each(self, index: Tensor) -> Level:
        """A level of the table for each image: in the place of numbers there are tensors, scales
        float32 (B, 1, 1, 1), the index int64 (B,), and what is told float32 (B,), wherever the
        index is."""
        import torch

        chosen = index.cpu().numpy()
        scales = self.signal[chosen], self.noise[chosen]
        signal, noise = (
            torch.from_numpy(scale).float().to(index.device).view(-1, 1, 1, 1) for scale in scales
        )
        told = TOLD[self.told](*scales, len(self))
        if told is None and self.continuous:
            told = chosen
        if told is not None:
            told = torch.from_numpy(np.asarray(told)).float().to(index.device)
        values: Any = signal, noise, index, told
        return Level(*values)

    def near(self, log_ratio: float) -> Level:
        """The level whose log (signal^2 / noise^2) is this; the nearest that there is."""
        ratios = self.log_ratios
        index = int(np.abs(ratios - log_ratio).argmin())
        if not self.continuous or not ratios[-1] < log_ratio < ratios[0]:
            return self.at(index)
        ratio = math.exp(log_ratio / 2)
        place = self._ramp().of(ratio)
        position = float(np.interp(place, self._places(slice(None)), np.arange(len(self))))
        return self._of_ratio(ratio, index, position)

    def deviation(self, level: Level) -> float:
        """Deviation of the normal numbers that sampling starts from at a level: 1 but where
        variance explodes, though a little of the signal is left there."""
        return level.noise if self.convention == "exploding" else 1.0

    def steps(self, count: int, spacing: str) -> list[Level]:
        """The levels that a sampler walks through, from the most noise to the least, then CLEAN.

        Args:
            count: of levels before the last.
            spacing: of `bench.core.spacings`.

        Raises:
            InputError: another spacing; or one of sigma where the most noise leaves no signal, or
                where two of its levels have the same discrete one as the nearest.
        """
        spacings.require(spacing)
        if spacing in spacings.OF_TABLE:
            places = spacings.positions(len(self), count, spacing, self.continuous)
            return [*(self.between(float(place)) for place in places), CLEAN]
        if self.signal[-1] <= 0 or self.noise[0] <= 0:
            raise InputError(
                f"spacing {spacing} is of noise / signal, and one of these levels has no signal "
                f"or no noise: take trailing, leading or linspace"
            )
        largest, least = (float(self.noise[k] / self.signal[k]) for k in (-1, 0))
        chosen = spacings.sigmas(largest, least, count, spacing)
        levels = [self.near(-2 * math.log(sigma)) for sigma in chosen]
        if not self.continuous and len({level.index for level in levels}) < count:
            raise InputError(
                f"spacing {spacing} in {count} steps comes to a timestep twice: take fewer steps"
            )
        return [*levels, CLEAN]
