"""The denoising loss at moved weights, L(w + r d), against the radius r.

Directions d, all of L2 norm r ||w||:
- "global": Gaussian over all weights together;
- "layers": Gaussian with the norm of each parameter tensor in proportion to that of the tensor
  (Li et al. 2018, there for each filter);
- "worst": the highest loss met on the way of gradient ascent on these examples, after one step
  (SAM's) and after k;
- of each scheme: the error of its rounded weights, at multiples of it; 1 is the scheme itself.

A rise is L(w + r d) - L(w) on the same images, noise and timesteps, so its interval is paired.
That of random directions also covers how much directions differ (`estimates.pooled`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.core.probe_record import ProbeValue
from bench.measurement.probes import weight_space as space
from bench.measurement.probes.context import ProbeContext, Setting, compared, row

MULTIPLES = (0.25, 0.5, 1.0, 2.0)


class Perturbation:
    """Rows `loss` (radius 0) and `loss_rise`, with direction, relative and absolute radius."""

    version = 2

    def parts(self, setting: Setting, schemes: Sequence[str]) -> Sequence[str]:
        """The base, the kinds of directions, the schemes."""
        return ["base", "global", "layers", "worst", *(f"{scheme}:error" for scheme in schemes)]

    def __call__(
        self, context: ProbeContext, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """Compute one curve."""
        weights = space.point(context.full.model)
        base = space.losses(context, weights, context.examples)
        if part == "base":
            where = {"norm": space.norm(weights)}
            return [row("loss", base.mean(), base - base.mean(), where=where)]
        if part == "worst":
            radii = context.setting.worst_radii
            return [r for radius in radii for r in _worst(context, base, radius)]
        if part in ("global", "layers"):
            return [_random(context, base, part, radius) for radius in context.setting.radii]
        return _error(context, base, part.removesuffix(":error"))


def direction(weights: space.Point, kind: str, length: float, *words: int | str) -> space.Point:
    """A random direction of L2 norm `length`; kinds as in the module's text."""
    drawn = space.gaussian(weights, *words)
    if kind == "layers":
        sizes = {name: float(value.norm()) for name, value in weights.items()}
        drawn = {name: space.scaled({"": v}, sizes[name])[""] for name, v in drawn.items()}
    return space.scaled(drawn, length)


def rise(context: ProbeContext, base: np.ndarray, step: space.Point) -> np.ndarray:
    """L(w + step) - L(w) of each example, (N,)."""
    weights = space.point(context.full.model)
    return space.losses(context, space.moved(weights, step), context.examples) - base


def _random(context: ProbeContext, base: np.ndarray, kind: str, radius: float) -> ProbeValue:
    weights = space.point(context.full.model)
    size = space.norm(weights)
    rises = [
        rise(context, base, direction(weights, kind, radius * size, kind, k, context.setting.seed))
        for k in range(context.setting.directions)
    ]
    where: dict[str, float | str] = {"direction": kind, "radius": radius}
    where["length"] = radius * size
    mean = np.mean(rises, axis=0)
    repeats = [float(values.mean()) for values in rises]
    return compared("loss_rise", mean.mean(), mean - mean.mean(), repeats, where=where)


def _worst(context: ProbeContext, base: np.ndarray, radius: float) -> list[ProbeValue]:
    weights = space.point(context.full.model)
    length = radius * space.norm(weights)
    steps = space.ascent(context, weights, context.examples, length, context.setting.ascent)
    first = best = np.zeros_like(base)
    for k, step in enumerate(steps):
        values = rise(context, base, step)
        # A network that diverged has no finite loss, which counts as worse than any other.
        if not values.mean() <= best.mean():
            best = values
        first = best if k == 0 else first
    coordinates = {"radius": radius, "length": length}
    return [
        compared(
            "loss_rise",
            values.mean(),
            values - values.mean(),
            where=coordinates | {"direction": kind},
        )
        for kind, values in (("worst, 1 step", first), ("worst", best))
    ]


def _error(context: ProbeContext, base: np.ndarray, scheme: str) -> list[ProbeValue]:
    (wanted,) = (
        scheme_of_part for scheme_of_part in context.schemes if str(scheme_of_part) == scheme
    )
    weights = space.point(context.full.model)
    error = {
        f"{layer.name}.weight": layer.error
        for layer in context.constants(wanted)
        if layer.error is not None
    }
    size, rows = space.norm(weights), []
    for multiple in MULTIPLES:
        step = {name: multiple * value for name, value in error.items()}
        values, length = rise(context, base, step), space.norm(step)
        where = {"direction": "quantization", "multiple": multiple}
        where |= {"radius": length / size, "length": length}
        rows.append(
            row("loss_rise", values.mean(), values - values.mean(), scheme=scheme, where=where)
        )
    return rows
