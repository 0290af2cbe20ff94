"""Weights as a point in space: moved copies, losses and gradients there.

A network with other weights is a functional call, so the network itself is never written to and
nothing has to be restored after an interruption. Losses and gradients run over chunks of the
examples: memory is that of one chunk, and one vector of the weights' size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.measurement.probes.context import Examples, Network, ProbeContext
from bench.system.random import seeded

Point = dict[str, Tensor]


def point(model: nn.Module) -> Point:
    """The weights of a network, by name, detached."""
    return {name: value.detach() for name, value in model.named_parameters()}


def moved(weights: Point, direction: Mapping[str, Tensor], scale: float = 1.0) -> Point:
    """weights + scale * direction, where the direction has an entry."""
    return weights | {name: weights[name] + scale * step for name, step in direction.items()}


def norm(vector: Mapping[str, Tensor]) -> float:
    """L2 norm over all entries together, accumulated in float64."""
    return float(sum(value.double().square().sum() for value in vector.values()) ** 0.5)


def scaled(vector: Mapping[str, Tensor], length: float) -> Point:
    """The vector at another length; a vector of zeros stays."""
    size = norm(vector)
    return {name: value * (length / size if size else 0.0) for name, value in vector.items()}


def scaled_by(vector: Mapping[str, Tensor], factor: float) -> Point:
    """The vector times a number."""
    return {name: value * factor for name, value in vector.items()}


def gaussian(weights: Point, *words: int | str) -> Point:
    """A standard normal vector that depends on the names, the shapes and `words` alone."""
    return {
        name: torch.randn(value.shape, generator=seeded("probes", name, *words)).to(value.device)
        for name, value in weights.items()
    }


def at(model: nn.Module, weights: Point) -> Network:
    """The network with other weights."""
    return lambda *inputs: functional_call(model, weights, inputs)


@torch.no_grad()
def losses(context: ProbeContext, weights: Point, examples: Examples) -> np.ndarray:
    """The denoising loss of each example at other weights, float64 (N,)."""
    network = at(context.full.model, weights)
    chunks = examples.chunks(context.setting.chunk)
    return torch.cat([context.losses(network, chunk) for chunk in chunks]).double().cpu().numpy()


def gradient(context: ProbeContext, weights: Point, examples: Examples) -> Point:
    """The gradient of the mean loss; parameters that the loss does not depend on are left out."""
    total: Point = {}
    for chunk in examples.chunks(context.setting.chunk):
        for name, value in zip(weights, _chunk_gradient(context, weights, chunk), strict=True):
            if value is not None:
                share = value * (len(chunk) / len(examples))
                total[name] = total[name] + share if name in total else share
    return total


def _chunk_gradient(
    context: ProbeContext, weights: Point, chunk: Examples
) -> Iterable[Tensor | None]:
    leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
    loss = context.losses(at(context.full.model, leaves), chunk).mean()
    return torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)


def ascent(
    context: ProbeContext, weights: Point, examples: Examples, radius: float, steps: int
) -> Iterator[Point]:
    """Directions towards the worst point of a ball, after one gradient step, two, and so on.

    The first is the solution of SAM's inner problem to first order, radius * g / ||g|| (Foret et
    al. 2021); each further one is the gradient at the last point, projected back onto the sphere:
    the fixed points are where the gradient points outwards, as at a maximum on the ball.
    """
    direction: Point = {}
    for _ in range(steps):
        slope = gradient(context, moved(weights, direction), examples)
        size = norm(slope)
        if not size > 0:
            return
        step = {name: value * (radius / size) for name, value in slope.items()}
        if direction:
            step = {name: value + direction.get(name, 0.0) for name, value in step.items()}
        direction = scaled(step, radius)
        yield direction
