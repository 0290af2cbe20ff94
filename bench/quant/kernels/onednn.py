"""Backend `int8-x86`: the quantized graph in the int8 kernels of oneDNN.

They multiply uint8 by int8. A CPU with VNNI (or AMX) sums the products in 32 bits; an older one
sums each pair in 16 bits and saturates, silently, beyond 2^15 - 1:

    2 (2^a - 1) max|q_w| > 32767, which W8A8 can reach and W7A8, W8A7 and all below cannot.

Whether this machine saturates is measured, once. If it does, such a layer runs in two halves,
q_w = q_1 + q_2 with |q_i| <= 64, whose sums are exact: the same result at twice the work.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.core.halves import IN_HALVES
from bench.quant.kernels.integer_layer import IntegerLayer, Kernel, Reference

onednn = torch.ops.onednn
PAIR_LIMIT = 2**15 - 1
# What the operators need to leave the result in float32, with nothing fused after.
PLAIN: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")


class OneDnn(Kernel):
    """A layer in one pass of a oneDNN kernel."""

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__(layer)
        if layer.is_convolution:
            self.operator = "onednn.qconv2d_pointwise"
            self.geometry = (list(layer.stride), list(layer.padding), list(layer.dilation))
            packed = onednn.qconv_prepack(
                layer.weight,
                layer.scale,
                layer.act_scale,
                layer.act_zero,
                *self.geometry,
                layer.groups,
                list(layer.shape),
            )
        else:
            self.operator = "onednn.qlinear_pointwise"
            packed = onednn.qlinear_prepack(layer.weight, list(layer.shape))
        self.bytes = layer.weight.numel()
        self.packed = packed
        self.scale, self.bias = layer.scale, layer.bias
        self.zeros = torch.zeros_like(layer.scale, dtype=torch.int64)

    def forward(self, codes: Tensor, *given: Tensor) -> Tensor:
        """Compute y (float32) from q_x (uint8)."""
        layer, (scale, zero) = self.layer, self.range(given)
        act, weight = (float(scale), int(zero)), (self.packed, self.scale, self.zeros)
        if not layer.is_convolution:
            return onednn.qlinear_pointwise(codes, *act, *weight, self.bias, *PLAIN)
        return onednn.qconv2d_pointwise(
            codes, *act, *weight, self.bias, *self.geometry, layer.groups, *PLAIN
        )


class Halves(Kernel):
    """A layer in two passes, for machines that saturate."""

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__(layer)
        # An arithmetic shift rounds down: -128..127 becomes -64..63, and -64..64 are left.
        first = layer.weight >> 1
        self.first = OneDnn(replace(layer, weight=first))
        self.second = OneDnn(replace(layer, weight=layer.weight - first, bias=None))
        self.operator = f"{self.first.operator}, {IN_HALVES}"
        self.bytes = self.first.bytes + self.second.bytes

    def forward(self, codes: Tensor, *given: Tensor) -> Tensor:
        """Compute y (float32) from q_x (uint8)."""
        return self.first(codes, *given) + self.second(codes, *given)


def kernel(layer: IntegerLayer) -> Kernel:
    """The kernel of a layer on this machine: exact, and the fastest of those."""
    return Halves(layer) if may_saturate(layer) and saturates() else OneDnn(layer)


def may_saturate(layer: IntegerLayer) -> bool:
    """Whether two products of a layer can exceed 16 bits."""
    return 2 * layer.act_high * int(layer.weight.to(torch.int16).abs().max()) > PAIR_LIMIT


@functools.cache
def saturates() -> bool:
    """Whether the kernels of this machine saturate, measured with the largest codes.

    Raises:
        RuntimeError: the two halves are not exact either.
    """
    codes = torch.full((1, 64, 4, 4), 255, dtype=torch.uint8)
    layer = IntegerLayer(
        "measured",
        tuple(codes.shape),
        torch.full((16, 64, 3, 3), 127, dtype=torch.int8),
        torch.ones(16),
        1.0,
        0,
        255,
        None,
    )
    expected = Reference(layer)(codes)
    if torch.equal(OneDnn(layer)(codes), expected):
        return False
    if not torch.equal(Halves(layer)(codes), expected):
        raise RuntimeError("the int8 kernels of this machine do not add up: use the simulation")
    return True
