"""Two numbers for the flatness of a minimum: lower is flatter.

LPF (Bisla et al. 2022, arXiv 2201.08025) is the loss convolved with a Gaussian,

    LPF = 1/M sum_i L(w + e_i),   e_i ~ N(0, sigma^2 I).

It includes the loss itself, so LPF - L and (LPF - L) / L are compared. To second order
LPF - L = sigma^2 tr(H) / 2. Shifts come in pairs e, -e, which cancels the gradient's part; sigma
is the same for all parameters.

Epsilon-sharpness (Keskar et al. 2017, arXiv 1609.04836, metric 2.1) is the largest relative rise
in a box, 100 (max L(w + e) - L(w)) / (1 + L(w)) with |e_i| <= eps (|w_i| + 1), here by projected
sign-gradient ascent: a lower bound of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from bench.core.probe_record import ProbeValue
from bench.measurement.probes import weight_space as space
from bench.measurement.probes.context import ProbeContext, Setting, compared, row
from bench.measurement.probes.perturbation import rise


class Flatness:
    """Rows `lpf`, `lpf_rise`, `lpf_relative` and `epsilon_sharpness`."""

    version = 2

    def parts(self, setting: Setting, schemes: Sequence[str]) -> Sequence[str]:
        """Names of the two parts."""
        return ["lpf", "sharpness"]

    def __call__(
        self, context: ProbeContext, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """Compute one part."""
        weights = space.point(context.full.model)
        base = space.losses(context, weights, context.examples)
        return _lpf(context, base) if part == "lpf" else [_sharpness(context, base)]


def _lpf(context: ProbeContext, base: np.ndarray) -> list[ProbeValue]:
    setting = context.setting
    weights = space.point(context.full.model)
    pairs = []
    for k in range(max(setting.shifts // 2, 1)):
        shift = space.scaled_by(space.gaussian(weights, "lpf", k, setting.seed), setting.sigma)
        opposite = space.scaled_by(shift, -1.0)
        pairs.append((rise(context, base, shift) + rise(context, base, opposite)) / 2)
    where = {"sigma": setting.sigma, "M": 2 * len(pairs)}
    means = [float(values.mean()) for values in pairs]
    value, loss = float(np.mean(means)), float(base.mean())
    mean = np.mean(pairs, axis=0)
    # The influence on a ratio of means, to first order.
    terms = (mean - value / loss * base) / loss
    relative = [rise / loss for rise in means]
    return [
        row("lpf", value + loss, mean + base - value - loss, where=where),
        compared("lpf_rise", value, mean - value, means, where=where),
        compared("lpf_relative", value / loss, terms, relative, where=where),
    ]


def _sharpness(context: ProbeContext, base: np.ndarray) -> ProbeValue:
    eps, steps = context.setting.box, context.setting.ascent
    weights = space.point(context.full.model)
    box = {name: eps * (value.abs() + 1) for name, value in weights.items()}
    step: space.Point = {}
    best = np.zeros_like(base)
    for _ in range(steps):
        slope = space.gradient(context, space.moved(weights, step), context.examples)
        # Steps are a whole half width: the first reaches a corner, a second can leave it again.
        step = {
            name: torch.maximum(
                torch.minimum(step.get(name, 0.0) + box[name] * value.sign(), box[name]),
                -box[name],
            )
            for name, value in slope.items()
        }
        values = rise(context, base, step)
        if not values.mean() <= best.mean():
            best = values
    value, loss = float(best.mean()), float(base.mean())
    terms = 100 * ((best - value) - value / (1 + loss) * (base - loss)) / (1 + loss)
    where = {"epsilon": eps, "steps": steps}
    return compared("epsilon_sharpness", 100 * value / (1 + loss), terms, unit="%", where=where)
