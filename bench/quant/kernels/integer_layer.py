"""A layer in integers: its definition, its kernel, and how rows of weights become such layers.

With q_x = clamp(round(x / s_x) + z, 0, 2^a - 1) and weights q_w of output channel c, a layer is

    y_c = s_x s_c (sum q_w q_x - z sum q_w) + b_c,

sums of 8-bit products in 32 bits, which are exact in any order. Where rows of weights are groups
of input channels, or have zero points that do not fit 8 bits with the codes, it is the sum of such
layers (`Sum`). A kernel is a module that computes y (float32) from q_x (uint8). `Reference` is the
definition, in the plainest terms, that every kernel is tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A convolution or linear layer in integers.

    Attributes:
        name: path of its module.
        shape: of the input, fixed.
        weight: int8 (C_out, C_in / groups, k, k), or (C_out, C_in) of a linear layer.
        scale: s_c, float32 (C_out,).
        act_scale, act_zero, act_high: s_x, z and 2^a - 1 of the input; where its range switches,
            s_x and z are those of the first group, and each call is given its own.
        bias: float32 (C_out,), or None.
        stride, padding, dilation, groups: of a convolution; padding is (top = bottom, left =
            right) and adds zeros, which are z in integers.
    """

    name: str
    shape: tuple[int, ...]
    weight: Tensor
    scale: Tensor
    act_scale: float
    act_zero: int
    act_high: int
    bias: Tensor | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution, else a linear layer."""
        return self.weight.dim() == 4


class Kernel(nn.Module):
    """Computes one layer: q_x, uint8 of the layer's shape -> y, float32.

    Where ranges switch, each call is also given s_x and z, tensors of no dimension.

    Attributes:
        operator: the function that does the products, as a profiler shows it.
        bytes: size of the weights as it keeps them in memory.
    """

    operator: str
    bytes: int

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__()
        self.layer = layer

    def range(self, given: tuple[Any, ...]) -> tuple[Any, Any]:
        """s_x and z of a call: what it was given, else those of the layer."""
        scale, zero = given or (self.layer.act_scale, self.layer.act_zero)
        return scale, zero


@dataclass(frozen=True, eq=False)
class Part:
    """A layer of some input channels of another one."""

    layer: IntegerLayer
    channels: Tensor | slice


class Sum(Kernel):
    """A layer as the sum of others, each of which takes some of its input channels.

    Args:
        whole: what they are together; its weight and its steps are those of the first part.
        parts: the layers, with one bias among them.
        kernel: chooses the kernel of each.
    """

    def __init__(
        self, whole: IntegerLayer, parts: Sequence[Part], kernel: Callable[[IntegerLayer], Kernel]
    ) -> None:
        super().__init__(whole)
        kernels = [kernel(part.layer) for part in parts]
        self.kernels, self.channels = nn.ModuleList(kernels), [part.channels for part in parts]
        self.operator = f"{kernels[0].operator}, {len(parts)} times"
        self.bytes = sum(each.bytes for each in kernels)

    def forward(self, codes: Tensor, *given: Tensor) -> Tensor:
        """Compute y from q_x."""
        total: Tensor | None = None
        for kernel, channels in zip(self.kernels, self.channels, strict=True):
            y = kernel(self._chosen(codes, channels), *given)
            total = y if total is None else total + y
        assert total is not None
        return total

    def _chosen(self, codes: Tensor, channels: Tensor | slice) -> Tensor:
        if not self.layer.is_convolution:
            return codes[..., channels].contiguous()
        chosen = codes[:, channels]
        return chosen.contiguous(memory_format=torch.channels_last)


class Reference(Kernel):
    """The definition in int64: exact, and slow."""

    operator = "int64"

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__(layer)
        self.bytes = layer.weight.numel()

    def forward(self, codes: Tensor, *given: Tensor) -> Tensor:
        """Compute y from q_x."""
        layer, (act_scale, act_zero) = self.layer, self.range(given)
        centred, weight = codes.to(torch.int64) - int(act_zero), layer.weight.to(torch.int64)
        if layer.is_convolution:
            geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
            total = nn.functional.conv2d(centred, weight, None, *geometry)
            scale, bias = layer.scale[:, None, None], layer.bias
            bias = bias if bias is None else bias[:, None, None]
        else:
            total, scale, bias = centred @ weight.T, layer.scale, layer.bias
        y = total.to(torch.float64) * (float(act_scale) * scale.to(torch.float64))
        return (y if bias is None else y + bias).to(torch.float32)


def parts(whole: IntegerLayer, zeros: Tensor) -> list[Part]:
    """Layers with one step for each output channel that together are one with rows of weights.

    Args:
        whole: with weights and steps of all rows, (C_out G, C_in / G, ...) and (C_out G,).
        zeros: zero points of the rows, (C_out G,).

    Returns:
        A layer for each group of input channels; two and more where codes less their zero point
        need more than 8 bits. The first has the bias.
    """
    if whole.is_convolution:
        channels = len(whole.weight) * whole.weight.shape[1] * whole.groups // whole.shape[1]
    else:
        channels = len(whole.weight) * whole.weight.shape[1] // whole.shape[-1]
    groups = len(whole.weight) // channels
    numbers = whole.weight.to(torch.int32) - zeros.view(-1, *(1,) * (whole.weight.dim() - 1))
    made: list[Part] = []
    for k in range(groups):
        steps, left = whole.scale[k::groups].contiguous(), numbers[k::groups]
        taken = _channels(whole, k, groups)
        while not made or made[-1].channels is not taken or bool(left.any()):
            codes = left.clamp(-128, 127)
            shape = _shape(whole, groups)
            bias = None if made else whole.bias
            weight = codes.to(torch.int8).contiguous()
            part = replace(whole, weight=weight, scale=steps, bias=bias, shape=shape)
            made.append(Part(part, taken))
            left = left - codes
    return made


def _channels(whole: IntegerLayer, k: int, groups: int) -> Tensor | slice:
    """The input channels of group k."""
    if not whole.is_convolution or whole.groups == 1:
        size = whole.weight.shape[1]
        return slice(k * size, (k + 1) * size)
    # Each group of a convolution has groups of its own.
    each = torch.arange(whole.shape[1]).view(whole.groups, groups, -1)
    return each[:, k].flatten()


def _shape(whole: IntegerLayer, groups: int) -> tuple[int, ...]:
    """Of the input of a part."""
    if not whole.is_convolution:
        return (*whole.shape[:-1], whole.shape[-1] // groups)
    return (whole.shape[0], whole.shape[1] // groups, *whole.shape[2:])
