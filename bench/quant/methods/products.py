"""Sums of x x^T over the columns x of a layer's input.

An activation that is rounded to at most 8 bits is x = s c with whole numbers c = q - z, of which
k = c + z - 128 fits into 8 bits. So the products are those of integers, which a CPU computes
several times as fast as those of floats and without an error: with o = 128 - z

    sum x x^T = s^2 (sum k k^T + o (sum k) 1^T + o 1 (sum k)^T + n o^2)    for n columns.

Other inputs are multiplied in float32, and so is everything where 8-bit products saturate, as they
do on CPUs without VNNI; that is measured.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.quant.graph import DEQUANTIZE
from bench.quant.methods.rounded import RoundedLayer
from bench.quant.methods.windows import groups_of

# The middle of the codes of 8 bits.
MIDDLE = 128
# So many of them have a sum that float32 holds.
EXACT = 2**16


class Products(Protocol):
    """A sum of x x^T.

    Attributes:
        count: of the columns that were added.
    """

    count: int

    def add(self, columns: Tensor) -> None:
        """Add columns x, float32 (groups, K, columns)."""

    def mean(self) -> Tensor:
        """The sum over the number of columns, float64 (groups, K, K); not finite where an input
        was not."""


def products_of(executions: Sequence[RoundedLayer]) -> Products:
    """The sum for all executions of a layer, 0 at first."""
    first = executions[0]
    groups, wide, device = groups_of(first.node), first.weight[0].numel(), first.weight.device
    ranges = {_range(each) for each in executions}
    step, zero = ranges.pop() or (0.0, 0)
    is_one = bool(step) and not ranges
    if is_one and groups == 1 and device.type == "cpu" and multiplies_exactly():
        return _OfIntegers(wide, step, zero)
    return _OfFloats((groups, wide, wide), device)


def _range(layer: RoundedLayer) -> tuple[float, int] | None:
    """Step and zero point of a layer's input; None where it is in float, or has several."""
    x: Any = layer.node.args[0]
    if getattr(x, "target", None) is not DEQUANTIZE:
        return None
    _, step, zero, low, high, *_ = x.args
    return (float(step), int(zero)) if low == 0 and high < 2 * MIDDLE else None


@functools.cache
def multiplies_exactly() -> bool:
    """Whether products of 8-bit matrices have no error on this CPU, measured with the ends."""
    codes = torch.full((64, 64), MIDDLE - 1, dtype=torch.int8)
    codes[:, ::2] = -MIDDLE
    exact = codes.double().T @ codes.double()
    return torch.equal(torch._int_mm(codes.T, codes).double(), exact)


class _OfFloats:
    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self.total, self.count = torch.zeros(shape, dtype=torch.float64, device=device), 0

    def add(self, columns: Tensor) -> None:
        self.total += torch.bmm(columns, columns.transpose(1, 2))
        self.count += columns.shape[-1]

    def mean(self) -> Tensor:
        return self.total / self.count


class _OfIntegers:
    """Of x = step (q - zero) with codes q from 0 to 255."""

    def __init__(self, wide: int, step: float, zero: int) -> None:
        self.step, self.shift, self.count = step, zero - MIDDLE, 0
        # Whole numbers, far below 2^53.
        self.total = torch.zeros(wide, wide, dtype=torch.float64)
        self.sums = torch.zeros(wide, dtype=torch.float64)

    def add(self, columns: Tensor) -> None:
        numbers = columns[0].T.mul(1 / self.step).round_().add_(self.shift)
        # Summed as floats, which are exact so far, so that what is not finite stays so.
        for some in numbers.split(EXACT):
            self.sums += some.sum(0)
        codes = numbers.to(torch.int8)
        self.total += torch._int_mm(codes.T, codes)
        self.count += len(codes)

    def mean(self) -> Tensor:
        ends = -self.shift * self.sums
        whole = self.total + ends + ends[:, None] + self.count * self.shift**2
        return (whole * (self.step**2 / self.count))[None]
