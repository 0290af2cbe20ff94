"""Signed integers of b <= 8 bits in bytes: two in a byte up to 4 bits, else one.

Element 2k of the flattened tensor is the low half of byte k. Weights of 2 and 3 bits take 4, and
those of 5 to 7 take 8: nothing reads narrower fields, so they are not pretended.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack int8 codes in -2^(bits-1) .. 2^(bits-1) - 1.

    Returns:
        uint8 (ceil(n / 2),) up to 4 bits, else uint8 (n,).
    """
    flat = codes.flatten().view(torch.uint8)
    if bits > 4:
        return flat.clone()
    if len(flat) % 2:
        flat = torch.cat([flat, flat.new_zeros(1)])
    return (flat[::2] & 15) | (flat[1::2] << 4)


def unpack(packed: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    """The int8 codes of a shape that `pack` packed."""
    if bits > 4:
        return packed.view(torch.int8).view(*shape).clone()
    halves = torch.stack([packed << 4, packed], 1).view(torch.int8).flatten() >> 4
    return halves[: torch.Size(shape).numel()].view(*shape).clone()
