"""Does a description fit its weights? A test by the denoising loss on real images.

Weights load without an error under a wrong schedule, kind of prediction or flag of the network,
and all numbers that follow are wrong. The loss of the denoising shows it. At a signal-to-noise
ratio r = signal^2 / noise^2 the network is given

    x = signal x_0 + noise eps,    at its noise level with log r nearest to that which is wanted,

and its prediction, of whatever kind, is turned into an estimate of x_0. The error of the estimate
is divided by that of the best constant multiple of x (the trivial predictor, which needs no
network),

    m noise^2 / (signal^2 m + noise^2),    m the mean square of x_0.

This ratio is the same in terms of x_0, eps or v. Levels are those of r, not of t, so descriptions
with other schedules have the same task and differ only in the t that they give the network.
The loss of a description is the geometric mean over levels: 1 is as good as no network at all.
Images and noise are fixed, so descriptions are compared in pairs: a few images suffice.

Candidates are the named schedules, the kinds of prediction, and the values that the module of the
source lists in ALTERNATIVES: {field of config, with dots for nested ones: values, or config ->
values}. A network whose prediction has no word of the card's, or that has no timesteps, is held
against its own description alone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bench.core import extensions
from bench.core.cell import Checkpoint
from bench.core.denoiser import PREDICTED, Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import Level, NoiseLevels
from bench.models.samplers.noise import normal, uniform_labels
from bench.models.schedules import SCHEDULES
from bench.models.sources import noise as noises
from bench.models.sources.card_config import DEFAULTS
from bench.system import devices
from bench.system.random import seeded

# Levels of log r; beyond them even a good network is hardly better than the multiple of x_t.
LEVELS = (4.0, 2.0, 0.0, -2.0, -4.0)
# A candidate that is worse by this ratio here, on half of the images, is not looked at in full.
FIRST_LEVELS, HOPELESS = (2.0, -2.0), 1.1
# One description fits clearly better by this ratio. docs/checkpoints.md has what was measured.
CLEAR = 1.15
# From here on it is as good as no network: an untrained one, read as v_prediction, comes near 1.
TRIVIAL = 0.9
# A description with a larger loss is not worth a name, however bad the other is: a wrong one of
# a trained network may lie anywhere below TRIVIAL.
GOOD = 0.6
# A field whose value ties the network to the number of timesteps.
SCALED = "rescale_timesteps"
# Curves of alpha_bar closer than this are one schedule, and ratios closer to 1 one network.
ALIKE, SAME = 1e-3, 1e-6


@dataclass(frozen=True)
class Candidate:
    """A description and how well it fits.

    Attributes:
        changes: fields of the config that differ from the card; none for the card's own.
        loss: error relative to the trivial predictor, geometric mean over LEVELS.
        error: mean square error of x_0, geometric mean over LEVELS. Both are estimates for a
            candidate that was worse at first sight.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    loss: float = math.inf
    error: float = math.inf

    def __str__(self) -> str:
        return ", ".join(f"{name} {_word(value)}" for name, value in self.changes.items())


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def images_for(shape: Sequence[int]) -> int:
    """Images that suffice: the pixels of one are many observations."""
    return 8 if math.prod(shape) <= 3 * 64 * 64 else 4


def losses(
    denoiser: Denoiser, x_0: Tensor, levels: Sequence[float] = LEVELS
) -> dict[str, Candidate]:
    """How well a network fits, read as each kind of prediction.

    Args:
        denoiser: its network and schedule; not what it says to predict.
        x_0: images or latents, (B, C, H, W).
        levels: the levels of log r.
    """
    power = float(x_0.square().mean())
    logs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in _readings_of(denoiser)}
    for log_ratio in levels:
        level = denoiser.levels.near(log_ratio)
        signal, noise = level.signal**2, level.noise**2
        trivial = power * noise / (signal * power + noise)
        x_t, prediction = _predicted(denoiser, x_0, level, str(log_ratio))
        for kind, pairs in logs.items():
            read = replace(denoiser, predicts=kind)
            error = float((read.parts(prediction, x_t, level)[0] - x_0).square().mean())
            # A network of zeros may be exact; one that diverges is as bad as it gets.
            error = min(max(error, 1e-30), 1e30) if math.isfinite(error) else 1e30
            pairs.append((math.log(error / trivial), math.log(error)))
    return {
        kind: Candidate(
            {}, *(math.exp(sum(column) / len(pairs)) for column in zip(*pairs, strict=True))
        )
        for kind, pairs in logs.items()
    }


def _readings_of(denoiser: Denoiser) -> list[str]:
    """The kinds of prediction as which a network can be read."""
    known = PREDICTED[denoiser.levels.convention]
    return [*known] if denoiser.predicts in known else [denoiser.predicts]


@torch.inference_mode()
def _predicted(denoiser: Denoiser, x_0: Tensor, level: Level, word: str) -> tuple[Tensor, Tensor]:
    """(x_t, prediction) of all images; labels are drawn, as those of real images are not known."""
    generators = [seeded("plausibility", word, index) for index in range(len(x_0))]
    x_t = level.signal * x_0 + level.noise * normal(x_0.shape[1:], generators, x_0.device)
    classes = denoiser.classes
    labels = uniform_labels(classes, generators, x_0.device) if classes else None
    predictions = []
    for start in range(0, len(x_t), 4):
        chunk = slice(start, start + 4)
        condition = None if labels is None else labels[chunk]
        predictions.append(denoiser.model(*denoiser.inputs(x_t[chunk], level, condition)))
    return x_t, torch.cat(predictions).float()


def latents(denoiser: Denoiser, images: Tensor) -> Tensor:
    """x_0 of images in [-1, 1]: the images, or what the decoder's own encoder makes of them.

    Raises:
        InputError: there is a decoder, and no encoder beside it.
    """
    if denoiser.decode is None:
        return images.to(denoiser.device)
    encode = getattr(denoiser.decode, "encode", None)
    if encode is None:
        raise InputError("its decoder has no encoder")
    with torch.inference_mode():
        encoded = encode(images.to(denoiser.device))
    if tuple(encoded.shape[1:]) != tuple(denoiser.shape):
        raise InputError(
            f"its encoder gives {list(encoded.shape[1:])}, not {list(denoiser.shape)}"
        )
    return encoded


class Search:
    """Descriptions of one checkpoint against each other.

    Args:
        checkpoint: its card; the config is the description.
        denoiser: loaded from it.
        x_0: from `latents`.
    """

    def __init__(self, checkpoint: Checkpoint, denoiser: Denoiser, x_0: Tensor) -> None:
        self.checkpoint, self.denoiser, self.x_0 = checkpoint, denoiser, x_0
        self.own = losses(denoiser, x_0)[denoiser.predicts]
        self._half = x_0[: max(1, len(x_0) // 2)]
        self._first = losses(denoiser, self._half, FIRST_LEVELS)[denoiser.predicts]

    def candidates(self) -> list[Candidate]:
        """Other descriptions that may fit, best first."""
        candidates = [*self._readings(), *self._reloaded()]
        return sorted(candidates, key=lambda candidate: candidate.loss)

    def _readings(self) -> Iterator[Candidate]:
        """Other schedules and kinds of prediction of the same network."""
        yield from self._kinds(self.denoiser, {})
        # One without timesteps has no schedule of a name.
        named = SCHEDULES if self.denoiser.levels.is_schedule else ()
        for name in named:
            own = self.denoiser.levels.alpha_bar
            # There may be no such schedule for this number of timesteps.
            try:
                other = noises.of_word(name, len(own), self.checkpoint.source)
            except InputError:
                continue
            if float((other - own).abs().max()) > ALIKE:
                read = replace(self.denoiser, levels=NoiseLevels.discrete(other))
                yield from self._kinds(read, {"schedule": name})

    def _kinds(self, denoiser: Denoiser, changes: Mapping[str, Any]) -> Iterator[Candidate]:
        """A network read as each kind of prediction, but as the card says."""
        first = losses(denoiser, self._half, FIRST_LEVELS)
        full: dict[str, Candidate] = {}
        for kind, fitted in first.items():
            predicts = {} if kind == denoiser.predicts else {"predicts": kind}
            if not changes and not predicts:
                continue
            ratio = fitted.loss / self._first.loss
            if abs(ratio - 1) < SAME and not predicts:
                # This candidate is the default under another name.
                continue
            if ratio <= HOPELESS:
                full = full or losses(denoiser, self.x_0)
                fitted = full[kind]
            else:
                fitted = replace(fitted, loss=self.own.loss * ratio, error=self.own.error * ratio)
            yield replace(fitted, changes={**changes, **predicts})

    def _reloaded(self) -> Iterator[Candidate]:
        """Other values of the fields that the source lists."""
        source = extensions.lookup("sources", self.checkpoint.source)
        listed = getattr(sys.modules[source.__module__], "ALTERNATIVES", {})
        for name, values in listed.items():
            present = at({**DEFAULTS, **self.checkpoint.config}, name)
            for value in values(self.checkpoint.config) if callable(values) else values:
                if value == present:
                    continue
                # The value may not fit the shapes of the weights, or contradict them.
                try:
                    denoiser = self._with(name, value)
                except InputError:
                    continue
                for candidate in self._kinds(denoiser, {name: value}):
                    if "predicts" not in candidate.changes:
                        yield candidate

    def _with(self, name: str, value: Any) -> Denoiser:
        """The checkpoint with another value of one field.

        Raises:
            InputError: it cannot be loaded.
        """
        config = changed(self.checkpoint.config, {name: value})
        schedule = config.get("schedule", DEFAULTS["schedule"])
        free = schedule in SCHEDULES and not {"scheduler", SCALED} & set(config)
        if name == "timesteps" and free and not self.denoiser.classes:
            # Only the schedule depends on the number of timesteps.
            curve = noises.of_word(schedule, value, self.checkpoint.source)
            return replace(self.denoiser, levels=NoiseLevels.discrete(curve))
        denoiser = extensions.lookup("sources", self.checkpoint.source)(
            replace(self.checkpoint, config=config)
        )
        loaded: Denoiser = devices.placed(denoiser, str(self.x_0.device))
        return loaded


def clearly_better(own: Candidate, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that fit clearly better than the own description and about as well as the
    best of them, those that change least first; none that fits badly itself."""
    better = [c for c in candidates if c.loss < GOOD and c.loss * CLEAR < own.loss]
    best = min((c.loss for c in better), default=0.0)
    near = [c for c in better if c.loss <= CLEAR * best]
    return sorted(near, key=lambda c: (len(c.changes), c.loss))


def at(config: Mapping[str, Any], path: str) -> Any:
    """The value of a field, named with dots where it is nested; None where there is none."""
    value: Any = config
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config with other values of fields, named as in `at`."""
    result = dict(config)
    for path, value in changes.items():
        name, dot, rest = path.partition(".")
        inner = result.get(name)
        inner = inner if isinstance(inner, Mapping) else {}
        result[name] = changed(inner, {rest: value}) if dot else value
    return result
