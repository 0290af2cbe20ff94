"""Integer layers of every kind that a kernel must get right, with weights and codes at the ends
of their range."""

import dataclasses

import torch

from bench.quant.kernels.integer_layer import IntegerLayer


def convolution(weights=8, high=255, batch=3, **changes):
    generator = torch.Generator().manual_seed(weights)
    half = 2 ** (weights - 1)
    weight = torch.randint(-half, half, (6, 4, 3, 3), generator=generator, dtype=torch.int8)
    weight[0, :2] = half - 1
    layer = IntegerLayer(
        name="a",
        shape=(batch, 4, 7, 5),
        weight=weight,
        scale=torch.rand(6, generator=generator) + 0.1,
        act_scale=0.03,
        act_zero=high // 2,
        act_high=high,
        bias=torch.randn(6, generator=generator),
        padding=(1, 1),
    )
    return dataclasses.replace(layer, **changes)


def linear(weights=8, batch=3, depth=16):
    generator = torch.Generator().manual_seed(weights)
    half = 2 ** (weights - 1)
    weight = torch.randint(-half, half, (5, depth), generator=generator, dtype=torch.int8)
    return IntegerLayer("b", (batch, depth), weight, torch.rand(5) + 0.1, 0.02, 99, 255, None)


def codes(layer):
    found = torch.randint(0, layer.act_high + 1, layer.shape, dtype=torch.uint8)
    found[0] = layer.act_high
    return found


LAYERS = [
    convolution(8),
    convolution(4),
    convolution(2, high=15),
    convolution(8, high=127),
    convolution(7),
    convolution(8, batch=1),
    convolution(8, stride=(2, 2), padding=(0, 2)),
    convolution(8, dilation=(2, 1), bias=None),
    convolution(8, weight=torch.randint(-128, 128, (6, 2, 3, 3), dtype=torch.int8), groups=2),
    convolution(8, weight=torch.randint(-128, 128, (6, 4, 1, 1), dtype=torch.int8)),
    convolution(
        8,
        weight=torch.randint(-128, 128, (6, 4, 1, 1), dtype=torch.int8),
        padding=(0, 0),
        stride=(2, 1),
    ),
    linear(8),
    linear(4),
    linear(8, batch=1),
    linear(8, batch=40, depth=13),
]
