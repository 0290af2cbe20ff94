"""Bits of weights for each layer under a budget, as values.

What was measured of a network, which layer loses how much at which bits, and what an integer
programme made of it. Whoever explains an allocation needs no torch for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

# Bits that a layer's weights may have under a budget.
WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True)
class Share:
    """A layer with quantized weights, as a budget counts it.

    Attributes:
        name: path of its module.
        size: its weights, or the multiply-accumulates of all its executions.
        least: fewest bits that it may have.
    """

    name: str
    size: int
    least: int

    @property
    def widths(self) -> tuple[int, ...]:
        """The bits that it may have, from few to many."""
        return tuple(bits for bits in WIDTHS if bits >= self.least)


@dataclass(frozen=True)
class Allocation:
    """The bits of each layer, and what they are said to cost.

    Attributes:
        bits: bits of the weights, by the name of the layer.
        mean: their mean, weighted by the size of the layers.
        predicted: by input, the sum over the layers of the mean squared change of the network's
            output with the weights of that layer alone rounded, float64 (N,).
        measured: the same with the weights of all layers rounded at once, float64 (N,); empty
            where it was not measured.
        budget: that it was made for; 0 where all layers were given the same bits.
    """

    bits: Mapping[str, int]
    mean: float
    predicted: np.ndarray
    measured: np.ndarray = field(default_factory=lambda: np.zeros(0))
    budget: float = 0.0
