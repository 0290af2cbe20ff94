"""A training run as one frozen value; two runs with equal recipes give equal weights.

Every method of a comparison shares network, data order and noise, and timesteps where they are
drawn uniformly (all are functions of `seed` and the update's number); only the update rule, the
perturbation of the input and the averaging differ. One run gives three kinds of weights: raw,
exponential average (EMA) and equal average (SWA).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from bench.core import yaml_files
from bench.core.errors import InputError
from bench.core.printable import quoted, short

CHOICES = {
    "method": ("baseline", "ip", "sam", "ip+sam"),
    "schedule": ("cosine", "linear"),
    "predicts": ("epsilon", "v_prediction"),
    "timestep_sampler": ("uniform", "loss-second-moment"),
    "equal": ("updates", "compute"),
    "optimizer": ("adam", "adamw"),
    "swa_schedule": ("constant", "cosine"),
    "precision": ("float32", "bfloat16"),
}
POSITIVE = ("timesteps", "updates", "batch", "learning_rate", "swa_every")
MOST = 2**62
NOT_NEGATIVE = ("rho", "gamma", "weight_decay", "warmup", "seed", "swa_rate")


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: the name of the recipe; checkpoints of all its methods are one family.
        dataset: name in `tables.DATASETS`.
        shape: (C, H, W) of an image.
        network: what `bench.models.networks.build_network` takes; dropout is set here.
        schedule, timesteps, predicts: the diffusion process and what the network predicts.
        learns_variance: whether the network has 2C outputs, trained by the hybrid loss.
        flip: whether images are mirrored left to right with probability 1/2.
        timestep_sampler: "uniform" or "loss-second-moment".
        method: "baseline", "ip" (input perturbation), "sam" (sharpness-aware), "ip+sam".
        rho: SAM radius in weight space, L2 norm over all parameters together.
        adaptive: whether SAM measures its radius relative to each weight (ASAM).
        gamma: strength of input perturbation, in standard deviations of the noise.
        updates: optimizer steps; with `equal="compute"`, steps that take one gradient each.
        equal: the quantity that methods of a comparison share, "updates" or "compute".
        batch: images per update.
        optimizer, weight_decay: "adam" or "adamw" and its decoupled decay.
        learning_rate: constant after `warmup` updates of linear increase.
        ema_decays: one exponential average for each; the first is `ema`, another `ema@DECAY`.
        ema_warmup: whether the decay rises as (1 + u) / (10 + u) to its value.
        swa_start: share of the updates after which the equal average begins.
        swa_every: length of a cycle in updates; weights enter the average at its end.
        swa_schedule: learning rate after `swa_start`: "constant", or "cosine" in each cycle.
        swa_rate: factor of the learning rate after `swa_start`; where the cosine ends.
        precision: "float32", or "bfloat16" for network evaluations (weights stay float32).
    """

    name: str
    dataset: str
    shape: tuple[int, int, int]
    network: Mapping[str, Any]
    schedule: str = "cosine"
    timesteps: int = 1000
    predicts: str = "epsilon"
    learns_variance: bool = False
    flip: bool = False
    timestep_sampler: str = "uniform"
    method: str = "baseline"
    rho: float = 0.05
    adaptive: bool = False
    gamma: float = 0.1
    updates: int = 6000
    equal: str = "updates"
    batch: int = 64
    optimizer: str = "adam"
    weight_decay: float = 0.0
    learning_rate: float = 1e-3
    warmup: int = 200
    ema_decays: tuple[float, ...] = (0.999,)
    ema_warmup: bool = True
    swa_start: float = 0.6
    swa_every: int = 20
    swa_schedule: str = "constant"
    swa_rate: float = 1.0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                known = ", ".join(choices)
                raise InputError(f"{name} must be one of {known}, not {quoted(value)}")
        for name in (*POSITIVE, *NOT_NEGATIVE):
            value = getattr(self, name)
            if not value <= MOST or value < 0 or (name in POSITIVE and value == 0):
                least = "above 0" if name in POSITIVE else "at least 0"
                raise InputError(f"{name} must be {least} and at most 2^62, not {value}")
        if len(self.shape) != 3 or not all(1 <= size <= MOST for size in self.shape):
            raise InputError(f"shape must be (C, H, W), not {short(repr(self.shape))}")
        if self.timesteps < 2:
            raise InputError(f"timesteps must be at least 2, not {self.timesteps}")
        if not self.ema_decays or not all(0 <= decay < 1 for decay in self.ema_decays):
            raise InputError(f"ema_decays must be numbers in [0, 1), not {self.ema_decays}")
        if not 0 <= self.swa_start < 1:
            raise InputError(f"swa_start must be in [0, 1), not {self.swa_start}")

    @property
    def sharpness_aware(self) -> bool:
        """Whether an update takes SAM's second gradient."""
        return "sam" in self.method.split("+")

    @property
    def perturbation(self) -> float:
        """Strength of the input perturbation of this method, 0 for methods without."""
        return self.gamma if "ip" in self.method.split("+") else 0.0

    @property
    def gradients(self) -> int:
        """Forward and backward passes of one update, the cost of the method."""
        return 2 if self.sharpness_aware else 1

    @property
    def steps(self) -> int:
        """Optimizer steps of this method."""
        share = self.gradients if self.equal == "compute" else 1
        return max(1, self.updates // share)

    @property
    def swa_begin(self) -> int:
        """Updates done before the equal average begins."""
        return int(self.swa_start * self.steps)

    def rate(self, update: int) -> float:
        """Learning rate of an update (0-based)."""
        full = self.learning_rate * min(1.0, (update + 1) / max(1, self.warmup))
        if update < self.swa_begin:
            return full
        low = full * self.swa_rate
        if self.swa_schedule == "constant":
            return low
        # The last update of a cycle, whose weights are averaged, has the lowest rate.
        position = ((update - self.swa_begin) % self.swa_every + 1) / self.swa_every
        return low + (full - low) * (1 + math.cos(math.pi * position)) / 2

    def averages_after(self, done: int) -> bool:
        """Whether the weights after `done` updates enter the equal average."""
        since = done - self.swa_begin
        return since > 0 and since % self.swa_every == 0

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        data = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return data | {"network": dict(self.network)}

    def changed(self, settings: Mapping[str, str]) -> Recipe:
        """The recipe with fields set from text, for example {"rho": "0.1"}.

        A dotted name reaches into `network`: `network.unet.dropout`.

        Raises:
            InputError: an unknown field, or a value of another type.
        """
        changed = self
        for name, text in settings.items():
            changed = changed._set(name, text)
        return changed

    def fitted(self, dataset: str, shape: Sequence[int]) -> Recipe:
        """The recipe on other images: its network takes and gives as many channels and pixels.

        Args:
            dataset: name of the data set.
            shape: (C, H, W) of its images.
        """
        channels, height, width = shape
        patch = self.network.get("patch", 1)
        inner = channels * patch**2
        sides = (height // patch, width // patch)
        unet = {
            **self.network.get("unet", {}),
            "sample_size": sides[0] if height == width else list(sides),
            "in_channels": inner,
            "out_channels": inner * (2 if self.learns_variance else 1),
        }
        network = {**self.network, "unet": unet}
        return replace(self, dataset=dataset, shape=(channels, height, width), network=network)

    def _set(self, name: str, text: str) -> Recipe:
        label = f"--set {short(name)}"
        try:
            value = yaml_files.parse(text, label)
        except InputError as error:
            reason = str(error).removeprefix(f"{label}: not a readable YAML file ")
            raise InputError(f"{label}: cannot read {quoted(text)} {reason}") from None
        field, *path = name.split(".")
        known = {f.name for f in fields(self)} - {"name", "network"}
        if field == "network" and path:
            return replace(self, network=_replaced(self.network, path, value, name))
        if field not in known or path:
            raise InputError(
                f"{label}: no such field; known are {', '.join(sorted(known))}, network.*"
            )
        return replace(self, **{field: _typed(name, getattr(self, field), value)})


def _typed(name: str, present: Any, value: Any) -> Any:
    """A value of the type of the present one; numbers widen, a scalar may stand for a tuple."""
    if isinstance(present, tuple):
        items = value if isinstance(value, list) else [value]
        return tuple(_typed(name, present[0], item) for item in items)
    if isinstance(present, float) and type(value) is int:
        value = float(value)
    wrong = isinstance(value, float) and not math.isfinite(value)
    if type(value) is not type(present) or wrong:
        raise InputError(f"{name} must be like {present!r}, not {short(repr(value))}")
    return value


def _replaced(tree: Mapping[str, Any], path: list[str], value: Any, name: str) -> dict[str, Any]:
    head, *rest = path
    if rest:
        if not isinstance(tree.get(head), Mapping):
            raise InputError(f"--set {short(name)}: there is no mapping {quoted(head)}")
        value = _replaced(tree[head], rest, value, name)
    return {**tree, head: value}
