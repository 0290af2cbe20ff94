"""GPTQ: weights rounded one after the other, each error made up for by those still to be rounded.

Rounding the weights W of a layer to Q changes its output by (W - Q) x, whose mean square is

    tr((W - Q) H (W - Q)^T),    H = E[x x^T]

over the inputs x that the layer meets along the sampling trajectories of the quantized network,
all timesteps together. Nearest rounding is best where H is diagonal. Frantar et al. 2022 (arXiv
2210.17323) round column i of W, with U the upper Cholesky factor of the inverse of H,

    W[:, j] -= (W[:, i] - Q[:, i]) / U[i, i] * U[i, j]    for all columns j > i,

after a share `damp` of the mean of its diagonal was added to that of H; columns come in blocks,
and what follows a block is changed once for all of it. An output channel for which this is worse
than nearest rounding keeps that. Steps stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods import moments, options
from bench.quant.methods.rounded import (
    Grid,
    RoundedLayer,
    grid_of,
    out_of_order,
    rounded_layers,
    set_codes,
)

BLOCK = 128
OPTIONS = {"damp": (0.01, 1e-6, 1e6)}


class Gptq:
    """Rounds weights in turn, each against the errors of those before (Frantar et al. 2022)."""

    version = METHOD_VERSIONS["gptq"]

    def __init__(self, argument: str = "") -> None:
        self.damp = options.numbers("gptq", argument, OPTIONS)["damp"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights, and what rounds them otherwise."""
        return out_of_order(scheme, "gptq")

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Round the weights of all layers, with their inputs in the graph that was given.

        Raises:
            RuntimeError: an input is not finite.
        """
        layers = rounded_layers(graph)
        for executions, hessian in moments.by_layer(graph, layers, calibration):
            grid = grid_of(graph, executions[0])
            codes = better_codes(executions[0], hessian, grid, self.damp)
            for each in executions:
                set_codes(graph, each, codes)
        return graph


def better_codes(rounded: RoundedLayer, hessian: Tensor, grid: Grid, damp: float) -> Tensor:
    """The weights of a layer in whole numbers of steps, of their shape: for each output channel
    those of GPTQ, or the nearest where these have less error.

    Args:
        rounded: the layer.
        hessian: E[x x^T] of its inputs, float64 (groups, K, K).
        grid: what its weights may become.
        damp: as in `codes_of_columns`.
    """
    weights, chosen = rounded.weight.flatten(1), []
    size = len(weights) // len(hessian)
    for k, matrix in enumerate(hessian):
        channels = slice(k * size, (k + 1) * size)
        weight, own = weights[channels], grid.part(channels)
        both = codes_of_columns(weight, matrix, own, damp), own.nearest(weight)
        new, old = (error(weight, choice * own.steps, matrix) for choice in both)
        chosen.append(torch.where((new < old)[:, None], *both))
    return torch.cat(chosen).view_as(rounded.weight)


def error(weight: Tensor, rounded: Tensor, hessian: Tensor) -> Tensor:
    """(W - Q) H (W - Q)^T of each output channel, float64 (C_out,); both (C_out, K)."""
    difference = (weight - rounded).double()
    return ((difference @ hessian) * difference).sum(1)


def codes_of_columns(weight: Tensor, hessian: Tensor, grid: Grid, damp: float) -> Tensor:
    """Round a matrix of weights by GPTQ.

    Args:
        weight: (C_out, K).
        hessian: E[x x^T], float64 (K, K). An input that is always 0 has no say.
        grid: what the weights may become.
        damp: share of the mean of its diagonal that is added to that of H.

    Returns:
        Whole numbers of steps, float32 (C_out, K).
    """
    factor = _factor(hessian, damp)
    diagonal = factor.diagonal().tolist()
    # Columns of the weights as rows, so that each lies in one piece.
    left = weight.double().T.contiguous()
    result = torch.empty_like(left, dtype=torch.float32)
    steps, low, high = (
        t.expand_as(weight).T.contiguous() for t in (grid.steps, grid.low, grid.high)
    )
    exact = steps.double()
    for start in range(0, len(left), BLOCK):
        end = min(start + BLOCK, len(left))
        errors = torch.empty_like(left[start:end])
        for i in range(start, end):
            column, wrong = left[i], errors[i - start]
            # In float32, as nearest rounding is: the largest weights lie between two codes.
            codes = column.float().div_(steps[i]).round_().clamp_(low[i], high[i])
            result[i] = codes
            torch.sub(column, codes.double().mul_(exact[i]), out=wrong).div_(diagonal[i])
            left[i + 1 : end].addr_(factor[i, i + 1 : end], wrong, alpha=-1)
        left[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    return result.T.contiguous()


def _factor(hessian: Tensor, damp: float) -> Tensor:
    """The upper Cholesky factor of the inverse of a damped H, float64 (K, K)."""
    damped = hessian.clone()
    diagonal = damped.diagonal()
    added = damp * diagonal.mean()
    diagonal += added if added > 0 else 1
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)
