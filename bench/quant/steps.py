"""Steps of weights: that of the largest one, and that of which rounded weights are whole numbers.

Plain rounding puts the largest |w| of a channel at (2^b - 1) / 2 steps, exactly between two codes,
so the last bit of the step decides which one it gets. At 4 bits that moved the change of KD of a
network from 31 to 50 (docs/backends.md). So steps are divided the same way on every device.

Of weights that are rounded already each is a whole number of steps,

    w_k = s q_k    with whole q_k within the limits of the bits

The largest |w| of an output channel is such a number too, so s is one of |w| / 1, |w| / 2, ... and
a search over these is complete, also where the codes do not reach the ends of their range. The
largest step is taken: all others give the same values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# How far from a whole number a weight may lie in steps; and what more the precision in which it
# was stored may add.
TOLERANCE, PRECISION = 1e-3, 0.02
# So many weights of a channel are tried first, as nearly every step fails with them.
FIRST = 32


def widest(largest: Tensor, bits: int) -> Tensor:
    """The steps at which the codes reach as far as the largest weights.

    Divided by a tensor: by a number CUDA multiplies with the inverse, and the last bit differs.

    Args:
        largest: |w| of each row, (R,).
        bits: of the codes.
    """
    return largest / largest.new_tensor((2**bits - 1) / 2)


def own_steps(
    weight: Tensor, limits: tuple[int, int], stored: Any = torch.float32
) -> tuple[Tensor, Tensor]:
    """The step of each channel whose weights are whole numbers of one.

    Args:
        weight: (C_out, K).
        limits: the least and the largest whole number.
        stored: the type in which the weights were kept, whose precision is allowed for.

    Returns:
        Steps, float64 (C_out,), and for which channels there is one, (C_out,); the step of a
        channel of zeros is 1.
    """
    values = weight.detach().double()
    largest = values.abs().amax(1)
    steps, is_whole = torch.ones_like(largest), largest == 0
    for k in range(1, max(-limits[0], limits[1]) + 1):
        waiting = (~is_whole).nonzero().flatten()
        for count in (FIRST, values.shape[1]):
            if not len(waiting):
                break
            tried = largest[waiting] / k
            fits = _fits(values[waiting, :count] / tried[:, None], limits, stored)
            waiting = waiting[fits]
        steps[waiting], is_whole[waiting] = largest[waiting] / k, True
    return steps, is_whole


def _fits(numbers: Tensor, limits: tuple[int, int], stored: Any) -> Tensor:
    """Whether all numbers (R, K) of a row are whole and within the limits, (R,)."""
    whole = numbers.round()
    allowed = TOLERANCE + (whole.abs() * torch.finfo(stored).eps).clamp(max=PRECISION)
    good = ((numbers - whole).abs() <= allowed) & (whole >= limits[0]) & (whole <= limits[1])
    return good.all(1)
