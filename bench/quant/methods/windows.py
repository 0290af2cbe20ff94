"""A layer as a product of matrices: its input as the columns that its weights multiply.

A convolution sees a window of its input at each place of its output. With the windows as columns
x, in the order of the weights, its output is W x for each group of channels; of a linear layer the
columns are the inputs themselves. So what holds for W x serves every layer with weights. Windows
overlap and are many: of each input some columns are drawn, by a seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from bench.quant.operators import CONVOLUTIONS

# What a convolution has where its node says no more: stride, padding, dilation, groups.
USUAL = (1, 0, 1, 1)


def groups_of(node: Node) -> int:
    """In how many groups of output channels a layer multiplies columns of their own."""
    groups: int = _setting(node)[3] if node.target in CONVOLUTIONS else 1
    return groups


class Drawn:
    """Some of the columns of an input, the same for all channels.

    Args:
        most: columns, if the input has more.
        generator: draws them.
    """

    def __init__(self, most: int, generator: torch.Generator) -> None:
        self.most, self.generator = most, generator

    def columns(
        self, node: Node, x: Tensor, weight: Tensor, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The drawn columns of a layer's input, and its output there.

        Args:
            node: of a convolution or a linear layer.
            x: its input.
            weight: of the shape of its weights, K of them for each output channel.
            y: its output.

        Returns:
            (groups, K, columns) and (groups, C_out / groups, columns).
        """
        groups = groups_of(node)
        if node.target not in CONVOLUTIONS:
            x = x.reshape(-1, x.shape[-1])
            chosen = self._some(len(x)).to(x.device)
            drawn = None if y is None else y.reshape(-1, y.shape[-1])[chosen].T[None]
            return x[chosen].T[None], drawn
        windows = _windows(node, x.reshape(-1, *x.shape[-3:]), list(weight.shape[2:]))
        batch, _, _, _, height, width = windows.shape
        chosen = self._some(batch * height * width).to(x.device)
        rows, places = chosen // (height * width), chosen % (height * width)
        down, across = places // width, places % width
        found = _taken(windows, rows, down, across).unflatten(1, (groups, -1))
        if y is None:
            return found.permute(1, 2, 0), None
        there = y.reshape(batch, -1, height, width)[rows, :, down, across].unflatten(
            1, (groups, -1)
        )
        return found.permute(1, 2, 0), there.permute(1, 2, 0)

    def _some(self, count: int) -> Tensor:
        if count <= self.most:
            return torch.arange(count)
        return torch.randperm(count, generator=self.generator)[: self.most].sort().values


def _taken(windows: Tensor, rows: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Some of the windows of images, (columns, C kh kw): by the places of their values in memory,
    which is several times as fast as to index the view."""
    steps = windows.stride()
    starts = rows * steps[0] + down * steps[4] + across * steps[5]
    channel, row, column = (
        torch.arange(windows.shape[axis], device=rows.device) * steps[axis] for axis in (1, 2, 3)
    )
    within = (channel[:, None, None] + row[:, None] + column).flatten()
    places = (starts[:, None] + within).flatten()
    # From where the view begins.
    memory = windows.as_strided([int(starts.max() + within.max()) + 1], [1])
    return memory.index_select(0, places).view(len(rows), -1)


def _windows(node: Node, x: Tensor, kernel: list[int]) -> Tensor:
    """The windows of images (B, C, H, W) as a view, (B, C, kh, kw, H_out, W_out)."""
    stride, padding, dilation, _ = _setting(node)
    (down, across), steps = _pair(stride), _pair(dilation)
    x = functional.pad(x, _margins(padding, kernel, steps)).contiguous()
    spans = [step * (size - 1) + 1 for step, size in zip(steps, kernel, strict=True)]
    height = (x.shape[2] - spans[0]) // down + 1
    width = (x.shape[3] - spans[1]) // across + 1
    image, channel, row, column = x.stride()
    strides = (image, channel, row * steps[0], column * steps[1], row * down, column * across)
    return x.as_strided([*x.shape[:2], *kernel, height, width], strides)


def _setting(node: Node) -> tuple[Any, Any, Any, Any]:
    """Stride, padding, dilation and groups of a convolution."""
    said = node.args[3:]
    values: list[Any] = [*said, *USUAL[len(said) :]]
    return values[0], values[1], values[2], values[3]


def _pair(value: Any) -> list[int]:
    """A value for each of the two axes."""
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


def _margins(padding: Any, kernel: list[int], dilation: list[int]) -> list[int]:
    """Columns and rows of zeros around an image: left, right, top, bottom."""
    if padding == "valid":
        padding = 0
    if padding != "same":
        down, across = _pair(padding)
        return [across, across, down, down]
    totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return [left, right, top, bottom]
