"""Flags that names and shapes do not show, determined by the error of a network on noise.

At the last timestep x_T is noise alone, so a trained network that predicts epsilon answers with
x_T itself, whatever it was trained on; with a wrong flag it is another network and the error is
larger. An untrained network, or one that predicts something else, allows no conclusion.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import InputError
from bench.models.networks import build_network
from bench.system.random import seeded

# A network with a larger error than this counts as untrained. Where many values are tried, one may
# come near it by chance, so a smaller error is required. Values whose errors differ by less than
# the ratio count as equal.
TRAINED, SURE, BETTER = 0.5, 0.1, 0.9
# Larger images are cropped to this edge, as noise is the same at any size.
EDGE = 64
# Fields whose values are also tried in pairs, where none alone leads to a trained network.
PAIRED = 2

Flags = dict[str, Any]
Error = Callable[[Flags], float | None]


@dataclass
class Told:
    """The flags that fit best by the error on noise, and the errors.

    Attributes:
        flags: the best values.
        error: the error of these flags on noise.
        trained: whether the network shows that it was trained; else nothing is told.
        errors: for each field, of each value with the others at their best; the best comes first.
    """

    flags: Flags
    error: float
    trained: bool
    errors: dict[str, dict[Any, float]] = field(default_factory=dict)

    def is_clear(self, name: str) -> bool:
        """Whether one value of a field fits clearly better than all others."""
        errors = self.errors.get(name, {})
        others = [e for value, e in errors.items() if value != self.flags[name]]
        return self.trained and bool(others) and self.error < BETTER * min(others)

    def words(self, name: str) -> str:
        """The errors of a field, in words."""
        return ", ".join(f"{_plain(value)}: {e:.2g}" for value, e in self.errors[name].items())


def words(name: str, value: Any) -> str:
    """A flag and its value, in words."""
    if name == "time":
        flip, shift = value
        return f"flip_sin_to_cos {_plain(flip)}, freq_shift {shift}"
    return str(value) if name == "heads" else f"{name} {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_plain, value))
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def tell(
    start: Flags, choices: Mapping[str, Sequence[Any]], error: Error, enough: float = TRAINED
) -> Told | None:
    """Find the values of flags that fit the weights, by descent in one field after the other.

    Args:
        start: a value for each field, which is kept where nothing fits clearly better.
        choices: the values to try for each field that is open.
        error: the error of a network with these flags on noise; None where it cannot be built.
        enough: a network with a smaller error shows that it was trained.

    Returns:
        None where the network cannot be evaluated with any flags.
    """
    known: dict[tuple[Any, ...], float | None] = {}

    def evaluate(flags: Flags) -> float | None:
        key = tuple(flags.values())
        if key not in known:
            known[key] = error(flags)
        return known[key]

    best = dict(start)
    for _ in range(2 * len(choices)):
        moved = _step(best, choices, evaluate, enough)
        if moved is None:
            break
        best = moved
    least = evaluate(best)
    if least is None:
        return None
    trained = least < enough
    if not trained and evaluate(start) is not None:
        best, least = dict(start), evaluate(start)
    told = Told(best, float(least or 0), trained)
    for name, values in choices.items():
        at = {value: evaluate({**best, name: value}) for value in (best[name], *values)}
        told.errors[name] = {value: e for value, e in at.items() if e is not None}
    return told


def _step(
    flags: Flags, choices: Mapping[str, Sequence[Any]], error: Error, enough: float
) -> Flags | None:
    """The best neighbour, if it is clearly better; None if there is none."""
    least = error(flags)
    for neighbours in (_neighbours(flags, choices), _pairs(flags, choices)):
        tried = [(e, n) for n in neighbours if (e := error(n)) is not None]
        smallest, best = min(tried, key=lambda item: item[0], default=(None, flags))
        if smallest is not None and (least is None or smallest < BETTER * least):
            return best
        if least is not None and least < enough:
            return None
    return None


def _neighbours(flags: Flags, choices: Mapping[str, Sequence[Any]]) -> Iterator[Flags]:
    """Flags that differ in one field."""
    for name, values in choices.items():
        yield from ({**flags, name: value} for value in values if value != flags[name])


def _pairs(flags: Flags, choices: Mapping[str, Sequence[Any]]) -> Iterator[Flags]:
    """Flags that differ in two of the first fields."""
    for one, two in itertools.combinations(list(choices)[:PAIRED], 2):
        for values in itertools.product(choices[one], choices[two]):
            yield {**flags, one: values[0], two: values[1]}


@torch.inference_mode()
def noise_error(
    model: nn.Module, shape: Sequence[int], timesteps: int, count: int = 2
) -> float | None:
    """Mean square of eps - x_T where x_T is noise alone; near 0 once a network is trained.

    Args:
        model: (x, t) -> prediction.
        shape: (C, H, W) of an image.
        timesteps: T; the network is evaluated at T - 1.
        count: the count of images of noise.

    Returns:
        None where the network does not take such images.
    """
    edges = [EDGE if edge > EDGE and edge % EDGE == 0 else edge for edge in shape[1:]]
    generators = [seeded("noise error", 0, index) for index in range(count)]
    x = torch.stack([torch.randn((shape[0], *edges), generator=g) for g in generators])
    try:
        predicted = model(x, torch.full((count,), timesteps - 1))[:, : x.shape[1]]
    # Any error of the network means that these flags are wrong.
    except Exception:
        return None
    return _finite(predicted, x)


def _finite(predicted: Tensor, x: Tensor) -> float | None:
    if predicted.shape != x.shape:
        return None
    error = float((predicted - x).square().mean())
    return error if error == error else None


def network(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    timesteps: int,
    rescale_timesteps: bool = False,
) -> nn.Module | None:
    """A network that holds weights without a copy of them; None where it cannot be built.

    Args:
        config: as `bench.models.networks.build_network` takes it.
        weights: in float32, under the network's names.
        timesteps: T.
        rescale_timesteps: whether the network sees 1000 t / T.
    """
    try:
        with torch.device("meta"):
            model = build_network(config, timesteps, rescale_timesteps)
        model.load_state_dict(weights, assign=True)
    except (InputError, RuntimeError):
        return None
    return model.eval().requires_grad_(False)
