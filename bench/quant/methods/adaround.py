"""AdaRound: for each weight it is learned whether to round it down or up, layer by layer.

With step s a weight w becomes s (floor(w / s) + h), and h in [0, 1] is learned (`learned`). Of a
layer, by Adam,

    E[(W_q x - y)^2] + a regularizer that leaves each h at 0 or 1 at last

is made least, where x are the inputs that the layer meets after all earlier ones were quantized,
and y its outputs in full precision. Nagel et al. 2020 (arXiv 2004.10568). A layer is linear, so
E[x x^T] and E[y x^T] say all of the error: each update has its exact gradient, and nothing is
drawn.

An output channel for which nearest rounding has less error keeps that. What was learned is kept
layer by layer, so that a killed run goes on where it stopped. Steps stay as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods import options
from bench.quant.methods.learned import STRETCH, WEIGHT, power
from bench.quant.methods.rounded import (
    Grid,
    RoundedLayer,
    by_name,
    grid_of,
    out_of_order,
    rounded_layers,
    set_codes,
)
from bench.quant.methods.side_by_side import SideBySide, Task
from bench.system import artifacts
from bench.system.remaining import Remaining

OPTIONS = {"iterations": (1000, 1, 1e6)}
RATE = 0.02


class AdaRound:
    """Learns of each weight whether to round it down or up (Nagel et al. 2020)."""

    version = METHOD_VERSIONS["adaround"]

    def __init__(self, argument: str = "") -> None:
        self.iterations = int(options.numbers("adaround", argument, OPTIONS)["iterations"])

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights, and what rounds them otherwise."""
        return out_of_order(scheme, "adaround")

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Round the weights of all layers; those that are executed twice, for the first time.

        Raises:
            RuntimeError: an input is not finite.
        """
        layers = by_name(rounded_layers(graph))
        sizes = {name: _size(first) for name, (first, *_) in layers.items()}
        both = SideBySide(graph, denoiser, calibration)
        told, nearest = Remaining("adaround", sum(sizes.values())), 0
        for k, (name, executions) in enumerate(layers.items()):
            first, place = executions[0], calibration.place
            task = both.task(first)
            path = place and place / f"adaround-{k}.npy"
            codes = _kept(path, first)
            if codes is None:
                grid = grid_of(graph, first)
                codes, more = learned_codes(first, task, grid, self.iterations)
                nearest += more
                _keep(path, codes)
                told.advance(sizes[name])
            else:
                told.skip(sizes[name])
            for each in executions:
                set_codes(graph, each, codes)
            both.changed(first)
        if nearest:
            print(
                f"bench: adaround: {nearest} output channels keep nearest rounding, which has "
                f"less error than what was learned",
                file=sys.stderr,
            )
        return graph


def learned_codes(
    rounded: RoundedLayer, task: Task, grid: Grid, iterations: int
) -> tuple[Tensor, int]:
    """The learned codes of a layer, and how many output channels keep the nearest instead.

    Args:
        rounded: the layer.
        task: what its output should be.
        grid: what its weights may become.
        iterations: updates.

    Returns:
        Whole numbers of steps, float32 of the shape of the weights; the number of channels.
    """
    nearest = grid.nearest(rounded.weight)
    codes = _learned(rounded, task, grid, iterations)
    worse = task.error(codes * grid.steps) > task.error(nearest * grid.steps)
    chosen = torch.where(worse[:, None], nearest, codes)
    return chosen.view_as(rounded.weight), int(worse.sum())


def _learned(rounded: RoundedLayer, task: Task, grid: Grid, iterations: int) -> Tensor:
    """Codes (C_out, K) of learned rounding alone."""
    position = rounded.weight.flatten(1) / grid.steps
    down, groups = position.floor(), len(task.hessian)
    wide, least = STRETCH
    v = torch.logit((position - down - least) / wide)
    update = torch.optim.Adam([v], lr=RATE)
    hessian = task.hessian.float()
    target = task.target.float().unflatten(0, (groups, -1))
    unit = 2 * grid.steps / _usual_error(rounded, task, grid)
    for k in range(iterations):
        share = torch.sigmoid(v)
        h = (wide * share + least).clamp(0, 1)
        codes = grid.within(down + h)
        weight = (codes * grid.steps).unflatten(0, (groups, -1))
        slope = unit * (torch.bmm(weight, hessian) - target).flatten(0, 1)
        slope *= (down + h > grid.low) & (down + h < grid.high)
        if (exponent := power(k / iterations)) is not None:
            away = 2 * h - 1
            slope -= WEIGHT * 2 * exponent * away.abs().pow(exponent - 1) * away.sign()
        v.grad = slope * wide * share * (1 - share) * ((h > 0) & (h < 1))
        update.step()
    return grid.within(down + (v > 0))


def _usual_error(rounded: RoundedLayer, task: Task, grid: Grid) -> float:
    """The mean square that nearest rounding adds to a layer's output, for each of its weights."""
    weight = rounded.weight.flatten(1)
    change = grid.nearest(weight) * grid.steps - weight
    parts = change.double().unflatten(0, (len(task.hessian), -1))
    total = float((torch.bmm(parts, task.hessian) * parts).sum())
    # Where there is no error, as of weights on the grid, there is nothing to gain either.
    return total / weight.numel() or 1.0


def _size(rounded: RoundedLayer) -> int:
    """What learning a layer costs: the multiplications of an update and, in the same unit, about
    what its passes over all weights and its calls take."""
    return rounded.weight.numel() * (rounded.weight[0].numel() + 300) + 5_000_000


def _kept(path: Path | None, rounded: RoundedLayer) -> Tensor | None:
    """The codes that an earlier run learned, or None."""
    if path is None:
        return None
    # Affine codes less their zero point reach beyond 8 bits.
    codes = artifacts.load_array(path, artifacts.bound(path), rounded.weight.shape, np.int16)
    return None if codes is None else torch.from_numpy(codes).to(rounded.weight)


def _keep(path: Path | None, codes: Tensor) -> None:
    if path is not None:
        artifacts.save_array(path, artifacts.bound(path), codes.to(torch.int16).cpu().numpy())
