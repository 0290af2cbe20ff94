"""Backend `int8-cuda`: the quantized graph as int8 matrix products of an NVIDIA GPU.

cuBLAS multiplies int8 (M, K) by int8 (K, N) into int32. Codes are uint8, so 128 is taken off and
put back exactly, in integers:

    sum q_w (q_x - z) = sum q_w (q_x - 128) + (128 - z) sum q_w.

There is no int8 convolution in cuDNN for torch to call: a k x k convolution gathers its windows
(im2col) and is then a product, with M = B H' W' rows and K = k^2 C_in / groups. cuBLAS wants more
than 16 rows, and K and N in multiples of 8: what is added is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.quant.kernels.integer_layer import IntegerLayer, Kernel

LEAST_ROWS, MULTIPLE = 17, 8


class Product(Kernel):
    """A layer as one product for each group."""

    operator = "aten._int_mm"
    weight: Tensor
    sums: Tensor
    offset: Tensor
    scale: Tensor
    factor: Tensor
    bias: Tensor | None

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__(layer)
        # (groups, C_out / groups, K), K in the order (window row, window column, channel).
        weight = layer.weight
        if layer.is_convolution:
            weight = weight.permute(0, 2, 3, 1)
        weight = weight.reshape(layer.groups, len(layer.scale) // layer.groups, -1)
        sums = weight.to(torch.int32).sum(2, dtype=torch.int32)
        self.size = weight.shape[1]
        weight = nn.functional.pad(
            weight, (0, -weight.shape[2] % MULTIPLE, 0, -weight.shape[1] % MULTIPLE)
        )
        # Column-major, which is the layout that cuBLAS has int8 kernels for.
        self.register_buffer("weight", weight.contiguous().transpose(1, 2))
        self.register_buffer("sums", sums.flatten())
        self.register_buffer("offset", (128 - layer.act_zero) * sums.flatten())
        self.register_buffer("scale", layer.scale)
        self.register_buffer("factor", layer.act_scale * layer.scale)
        self.register_buffer("bias", layer.bias)
        self.bytes = weight.numel()

    def forward(self, codes: Tensor, *given: Tensor) -> Tensor:
        """Compute y (float32) from q_x (uint8)."""
        layer, (_, zero) = self.layer, self.range(given)
        if not layer.is_convolution:
            rows = codes.flatten(0, -2)
            y = self._scaled(self._product(rows, 0), given)
            return y.unflatten(0, codes.shape[:-1])
        groups = codes.permute(0, 2, 3, 1).chunk(layer.groups, 3)
        windows = [gather(part, layer, zero) for part in groups]
        products = [self._product(w.flatten(0, 2), g) for g, w in enumerate(windows)]
        y = self._scaled(torch.cat(products, 1) if len(products) > 1 else products[0], given)
        return y.unflatten(0, windows[0].shape[:3]).permute(0, 3, 1, 2)

    def _product(self, rows: Tensor, group: int) -> Tensor:
        """int32 (M, C_out / groups) of uint8 (M, K)."""
        count, depth = rows.shape
        # The rows of a single image's tokens are a transposed view, which cuBLAS refuses where
        # their number is no multiple of 4.
        signed = (rows.contiguous() ^ 128).view(torch.int8)
        weight = self.weight[group]
        missing = max(LEAST_ROWS - count, 0)
        if missing or depth < len(weight):
            signed = nn.functional.pad(signed, (0, len(weight) - depth, 0, missing))
        return torch._int_mm(signed, weight)[:count, : self.size]

    def _scaled(self, total: Tensor, given: tuple[Tensor, ...]) -> Tensor:
        offset, factor = self.offset, self.factor
        if given:
            scale, zero = given
            offset, factor = (128 - zero) * self.sums, scale * self.scale
        y = (total + offset).to(torch.float32) * factor
        return y if self.bias is None else y + self.bias


def gather(codes: Tensor, layer: IntegerLayer, zero: int | Tensor) -> Tensor:
    """The windows of a convolution.

    Args:
        codes: uint8 (B, H, W, C); outside of it is z.
        layer: with the geometry.
        zero: z.

    Returns:
        uint8 (B, H', W', k k C), in the order (window row, window column, channel).
    """
    (top, left), size = layer.padding, layer.weight.shape[2:]
    if top or left:
        codes = _padded(codes, top, left, zero)
    counts = [
        (length - d * (k - 1) - 1) // s + 1
        for length, d, k, s in zip(
            codes.shape[1:3], layer.dilation, size, layer.stride, strict=True
        )
    ]
    starts = [[d * i for i in range(k)] for d, k in zip(layer.dilation, size, strict=True)]
    slices = [
        [slice(start, start + s * (n - 1) + 1, s) for start in axis]
        for axis, s, n in zip(starts, layer.stride, counts, strict=True)
    ]
    if len(slices[0]) == len(slices[1]) == 1:
        return codes[:, slices[0][0], slices[1][0]]
    return torch.cat([codes[:, rows, columns] for rows in slices[0] for columns in slices[1]], 3)


def _padded(codes: Tensor, top: int, left: int, zero: int | Tensor) -> Tensor:
    """Codes (B, H, W, C) with a margin of z."""
    margins = (0, 0, left, left, top, top)
    if not isinstance(zero, Tensor):
        return nn.functional.pad(codes, margins, value=zero)
    # Its value is not asked of the device, which would have to be waited for.
    inside = nn.functional.pad(torch.ones_like(codes[:1, :, :, :1], dtype=torch.bool), margins)
    return torch.where(inside, nn.functional.pad(codes, margins), zero.to(codes.dtype))
