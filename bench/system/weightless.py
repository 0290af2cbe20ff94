"""Networks whose weights have shapes and types, and no memory: their forms without their numbers.

Such a weight is one zero that is read at every place, so a form of a network of any size takes
some kilobytes. It stands where code asks a network for its config, its type, its device or the
number of its weights, while the weights themselves are not loaded yet, or are gone.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def hollow(
    parameter: Tensor, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> nn.Parameter:
    """A parameter of the shape of another, without memory.

    Args:
        parameter: any; its numbers are not read.
        dtype: of floating-point parameters, None for its own.
        device: None for its own.
    """
    kind = dtype if dtype and parameter.is_floating_point() else parameter.dtype
    zero = torch.zeros((), dtype=kind, device=device or parameter.device)
    return nn.Parameter(zero.expand(parameter.shape), requires_grad=False)


def hollow_out(
    model: nn.Module,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> None:
    """Take the weights of a network out of memory, unless something else holds them.

    Args:
        model: its parameters become hollow; its buffers stay.
        dtype, device: as of `hollow`.
    """
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = hollow(parameter, dtype, device)


def form(model: nn.Module) -> nn.Module:
    """A copy of a network with the shapes and types of its weights, and none of their numbers."""
    memo = {id(parameter): hollow(parameter) for parameter in model.parameters()}
    made: nn.Module = copy.deepcopy(model, memo)
    return made
