"""The field `levels` of a card: noise levels that are not the timesteps of a schedule alone.

    levels: {kind: fractional}     those of `schedule` and `timesteps`, and all between two of them
    levels: {kind: sigmas, sigma_min: 0.002, sigma_max: 80.0, rho: null, told: sigma,
             sigma_data: null}     x = x_0 + sigma eps
    levels: {kind: edm, sigma_min: 0.002, sigma_max: 80.0, sigma_data: 0.5, rho: 7.0}
                                   the same behind EDM's preconditioning (Karras et al. 2022)
    levels: {kind: flow, shift: 1.0, told: timestep}
                                   x = (1 - t) x_0 + t eps (Lipman et al. 2023)

What is left out has the value that stands here; `timesteps` of the card is the number of levels in
the table that spacings choose from. `told` is a word of `bench.core.noise_levels.TOLD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core import border, yaml_files
from bench.core.denoiser import PREDICTED
from bench.core.errors import InputError, offer
from bench.core.noise_levels import NoiseLevels
from bench.models.sources.scheduled import Noise

# A flow has no sigma where there is no signal.
ToldOfFlow = Literal["timestep", "time", "reversed_time"]
ToldOfSigmas = Literal["sigma", "log_sigma", "c_noise", "time", "reversed_time"]


@dataclass(frozen=True)
class Fractional:
    """Timesteps of a schedule, and all between."""


@dataclass(frozen=True)
class Sigmas:
    """Noise added to images; attributes as of `NoiseLevels.sigmas` and `Denoiser.sigma_data`."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float | None = None
    told: ToldOfSigmas = "sigma"
    sigma_data: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < 1e9:
            raise InputError("sigma_min must be above 0 and below sigma_max")
        for name in ("rho", "sigma_data"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise InputError(f"{name} must be a positive number, not {value:g}")

    def levels(self, count: int) -> NoiseLevels:
        """The levels, with a table of so many."""
        return NoiseLevels.sigmas(self.sigma_min, self.sigma_max, count, self.rho, self.told)

    def __str__(self) -> str:
        data = f", sigma_data {self.sigma_data:g}" if self.sigma_data else ""
        return f"sigma {self.sigma_min:g} to {self.sigma_max:g}{data}, told as {self.told}"


@dataclass(frozen=True)
class Edm(Sigmas):
    """EDM's: the network is given c_in x and c_noise."""

    rho: float | None = 7.0
    told: Literal["c_noise"] = "c_noise"
    sigma_data: float | None = 0.5


@dataclass(frozen=True)
class Flow:
    """A flow from images to noise; attributes as of `NoiseLevels.flow`."""

    shift: float = 1.0
    told: ToldOfFlow = "timestep"
    sigma_data: None = None

    def __post_init__(self) -> None:
        if not 0 < self.shift < 1e6:
            raise InputError(f"shift must be a positive number, not {self.shift:g}")

    def levels(self, count: int) -> NoiseLevels:
        """The levels, with a table of so many."""
        return NoiseLevels.flow(count, self.shift, self.told)

    def __str__(self) -> str:
        return f"flow, shift {self.shift:g}, told as {self.told}"


Said = Fractional | Sigmas | Edm | Flow
KINDS: Mapping[str, type[Said]] = {
    "fractional": Fractional,
    "sigmas": Sigmas,
    "edm": Edm,
    "flow": Flow,
}
# What a network predicts where the card does not say.
USUAL = {"fractional": "epsilon", "sigmas": "epsilon", "edm": "edm", "flow": "flow_prediction"}
CONVENTIONS = {"fractional": "preserving", "flow": "flow"}


def read(said: Any) -> Said:
    """The field of a card.

    Raises:
        InputError: no known kind, or a field that it does not have or of another type.
    """
    kind = said.get("kind") if isinstance(said, Mapping) else said
    if not isinstance(said, Mapping) or not isinstance(kind, str) or kind not in KINDS:
        raise InputError(
            f"levels must be a mapping with a kind, as {{kind: flow, shift: 3.0}}: "
            f"{offer(str(kind)[:80], KINDS)}"
        )
    values = {str(name): value for name, value in said.items() if name != "kind"}
    try:
        return border.build(KINDS[kind], values)
    # Of what JSON does not have there is a TypeError.
    except (ValueError, TypeError) as error:
        raise InputError(f"levels of kind {kind}: {error}") from None


def is_fractional(said: Mapping[str, Any] | None) -> bool:
    """Whether levels are those of a schedule."""
    return said is None or said["kind"] == "fractional"


def predicts(said: Mapping[str, Any] | None, word: str | None) -> str:
    """What a network at these levels predicts: the card's word, or the usual one.

    Args:
        said: the field, as `read` takes it; None for timesteps.
        word: the card's.

    Raises:
        InputError: no network at such levels predicts that.
    """
    kind = "fractional" if said is None else str(said["kind"])
    known = PREDICTED[CONVENTIONS.get(kind, "exploding")]
    if word is not None and word not in known:
        where = "" if said is None else f" at levels of kind {kind}"
        raise InputError(f"predicts must be one of {', '.join(known)}{where}, not {word!r}")
    return word or USUAL[kind]


def levels(said: Mapping[str, Any], count: int) -> NoiseLevels:
    """The levels of a kind other than "fractional", with a table of so many."""
    described = read(said)
    assert not isinstance(described, Fractional)
    return described.levels(count)


def noise(said: Mapping[str, Any], predicted: str, variance: str, count: int) -> Noise:
    """The noise of a card whose levels are of no schedule.

    Args:
        said: the field.
        predicted: what the network predicts.
        variance: of ddpm's steps.
        count: levels of the table.
    """
    described = read(said)
    assert not isinstance(described, Fractional)
    # x_0 is left as it is, as by the samplers of those who train so.
    return Noise(
        levels=described.levels(count),
        predicts=predicted,
        variance=variance,
        clips=False,
        clip_range=1.0,
        thresholds=None,
        schedule=str(described),
        sigma_data=described.sigma_data,
    )


def parse(text: str) -> dict[str, Any]:
    """What `--set levels=...` says: a kind, or the mapping as YAML.

    Raises:
        ValueError: it says neither.
    """
    try:
        given = yaml_files.parse(text, "--set levels")
        said = {"kind": given} if isinstance(given, str) else given
        read(said)
    except InputError as error:
        raise ValueError(f"{', '.join(KINDS)}, or a mapping as on a card ({error})") from None
    return dict(said)
