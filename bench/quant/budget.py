"""What a budget of bits means for the layers of a network.

The mean of the bits b_l of all layers l with quantized weights, weighted by their sizes n_l
(weights, or multiply-accumulates), sum_l n_l b_l / sum_l n_l, is at most the budget. All is
counted in whole numbers, so that "at most" holds exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from bench.core.allocation import WIDTHS, Share
from bench.core.errors import InputError
from bench.core.scheme import FLOAT_BITS, Scheme

if TYPE_CHECKING:
    from bench.quant.layers import Layer


def narrowest(scheme: Scheme) -> Scheme:
    """The scheme that gives each layer the fewest bits of weights that it may have."""
    return replace(scheme, weight_bits=WIDTHS[0], budget=0.0, by_macs=False)


def shares(layers: Sequence[Layer], scheme: Scheme) -> tuple[Share, ...]:
    """The layers that a budget is about, in order of their first executions.

    Args:
        layers: all layers under the `narrowest` scheme.
        scheme: with a budget.
    """
    sizes: dict[str, int] = {}
    least: dict[str, int] = {}
    for layer in layers:
        if layer.weight_bits in FLOAT_BITS or not layer.weights:
            continue
        # A module that runs twice has its weights once.
        before = sizes.get(layer.name, 0)
        sizes[layer.name] = before + layer.macs if scheme.by_macs else layer.weights
        least[layer.name] = max(layer.weight_bits, least.get(layer.name, 0))
    return tuple(Share(name, size, least[name]) for name, size in sizes.items())


def most(parts: Sequence[Share], budget: float) -> int:
    """The largest sum of size times bits that a budget allows."""
    return math.floor(Fraction(f"{budget:.2f}") * sum(part.size for part in parts))


def spent(parts: Sequence[Share], bits: Mapping[str, int]) -> int:
    """The sum of size times bits."""
    return sum(part.size * bits[part.name] for part in parts)


def mean(parts: Sequence[Share], bits: Mapping[str, int]) -> float:
    """The mean of the bits."""
    return spent(parts, bits) / sum(part.size for part in parts)


def check(parts: Sequence[Share], scheme: Scheme) -> None:
    """Make sure that a budget can be kept.

    Raises:
        InputError: the fewest bits of all layers exceed it.
    """
    least = spent(parts, {part.name: part.least for part in parts})
    if least <= most(parts, scheme.budget):
        return
    lowest = Fraction(least, sum(part.size for part in parts))
    held = [part.name for part in parts if part.least > WIDTHS[0]]
    # Rounded up, so that what is said can be had.
    possible = math.ceil(100 * lowest) / 100
    raise InputError(
        f"{scheme}: with {', '.join(held)} at {scheme.edge_bits} bits or more, the least mean "
        f"that can be had is {possible:g} bits: raise the budget, or add +all"
    )
