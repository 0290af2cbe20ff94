"""Filling a network with weights: all of them, none left over, in float32, all finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bench.core.errors import InputError

# Precisions in which weights may be stored; all are computed in float32.
PRECISIONS = ("float32", "float16", "bfloat16", "float64")


def fill(network: nn.Module, weights: Mapping[str, Tensor], stored: str = "float32") -> None:
    """Load weights strictly.

    Args:
        network: takes the weights under their names.
        weights: names to tensors.
        stored: the precision that the card says they are stored in, or "mixed".

    Raises:
        InputError: a missing, additional, misshapen or not finite weight, or another precision.
    """
    counters = [n for n, v in weights.items() if _is_counter(network, n, v)]
    check_stored({n: v for n, v in weights.items() if n not in counters}, stored)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"weights do not fit the network: {reason}") from None


def check_stored(weights: Mapping[str, Tensor], stored: str) -> None:
    """Hold the numbers of weights against the precision that a card says, and look for NaN.

    Raises:
        InputError: another precision, or a weight that is not finite.
    """
    for name, value in weights.items():
        precision = str(value.dtype).removeprefix("torch.")
        expected = PRECISIONS if stored == "mixed" else (stored,)
        if precision not in expected:
            raise InputError(
                f"weight {name} is stored in {precision}: say so in the card's config, "
                f"`stored: {precision}`; it is computed in float32"
            )
        if not torch.isfinite(value).all():
            raise InputError(f"weight {name} holds NaN or infinite values")


def _is_counter(network: nn.Module, name: str, value: Tensor) -> bool:
    """Whether a network keeps whole numbers under a name, as a count of batches or positions."""
    own = None if value.is_floating_point() else dict(network.named_buffers()).get(name)
    return own is not None and own.dtype == value.dtype


def named(network: nn.Module, ordered: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names for weights that come as a list in the order of the network's parameters.

    Raises:
        InputError: another number of weights or another shape at some place.
    """
    parameters = list(network.named_parameters())
    if len(parameters) != len(ordered):
        raise InputError(f"{len(ordered)} weights do not fit {len(parameters)} parameters")
    pairs = list(zip(parameters, ordered.values(), strict=True))
    for (name, parameter), value in pairs:
        if parameter.shape != value.shape:
            raise InputError(
                f"weights do not fit the network: at the place of {name}, "
                f"{list(parameter.shape)}, there is {list(value.shape)}"
            )
    return {name: value for (name, _), value in pairs}
