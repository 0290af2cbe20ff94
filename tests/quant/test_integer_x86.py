import dataclasses

import pytest
import torch

from bench.host import instruction_set
from bench.quant import integer_x86
from bench.quant.integer import IntegerLayer, Reference
from bench.quant.integer_x86 import Halves, OneDnn, kernel, may_saturate, saturates

pytestmark = pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)
VNNI = ("avx_vnni", "avx512_vnni", "amx_int8")


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


def linear(weights=8, batch=3):
    generator = torch.Generator().manual_seed(weights)
    half = 2 ** (weights - 1)
    weight = torch.randint(-half, half, (5, 16), generator=generator, dtype=torch.int8)
    return IntegerLayer("b", (batch, 16), weight, torch.rand(5) + 0.1, 0.02, 99, 255, None)


def inputs(layer):
    codes = torch.randint(0, layer.act_high + 1, layer.shape, dtype=torch.uint8)
    codes[0] = layer.act_high
    return codes


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
    linear(8),
    linear(4),
    linear(8, batch=1),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_kernels_are_exact(layer):
    made = kernel(layer)
    codes = inputs(layer)
    expected = Reference(layer)(codes)
    # The integers are exact; what is left is one rounding of their product with the scales.
    assert torch.allclose(made(codes), expected, rtol=2e-6, atol=2e-5)
    assert made(codes).dtype == torch.float32


@pytest.mark.parametrize("layer", [convolution(8), linear(8)])
def test_layout_of_the_input_does_not_matter(layer):
    made, codes = kernel(layer), inputs(layer)
    strided = torch.stack([codes, codes], -1)[..., 0]
    assert not strided.is_contiguous()
    assert torch.equal(made(strided), made(codes))
    if layer.is_convolution:
        assert torch.equal(made(codes.contiguous(memory_format=torch.channels_last)), made(codes))


def test_limit_of_sixteen_bits():
    """2 (2^a - 1) max|w| <= 32767: W7A8 and W8A7 fit, W8A8 does not."""
    assert may_saturate(convolution(8))
    assert not may_saturate(convolution(7))
    assert not may_saturate(convolution(8, high=127))
    assert not may_saturate(convolution(4))
    # It is the weights that count, not their type.
    assert not may_saturate(convolution(8, weight=torch.full((6, 4, 3, 3), 64, dtype=torch.int8)))


def test_machines_without_vnni_saturate():
    """What the documentation of oneDNN says; were it no longer so, the halves would be waste."""
    assert saturates() == (instruction_set() not in VNNI)


def test_halves_sum_to_the_whole():
    layer = convolution(8)
    halves = Halves(layer)
    first, second = halves.first.layer, halves.second.layer
    assert torch.equal(first.weight + second.weight, layer.weight)
    assert not may_saturate(first) and not may_saturate(second)
    codes = inputs(layer)
    assert torch.allclose(halves(codes), Reference(layer)(codes), rtol=2e-6, atol=2e-5)
    assert halves.bytes == 2 * layer.weight.numel()
    assert halves.operator == "onednn.qconv2d_pointwise, in two halves"


@pytest.mark.parametrize("saturating, made", [(True, Halves), (False, OneDnn)])
def test_halves_are_taken_only_where_they_are_needed(monkeypatch, saturating, made):
    monkeypatch.setattr(integer_x86, "saturates", lambda: saturating)
    assert type(kernel(convolution(8))) is made
    assert type(kernel(convolution(7))) is OneDnn
    assert type(kernel(linear(8))) is made


def test_a_machine_that_does_not_add_up_is_refused(monkeypatch):
    saturates.cache_clear()
    monkeypatch.setattr(Halves, "forward", lambda self, codes: self.first(codes))
    monkeypatch.setattr(OneDnn, "forward", lambda self, codes: torch.zeros(()))
    with pytest.raises(RuntimeError, match="use the simulation"):
        saturates()
    saturates.cache_clear()


def test_operators_by_name():
    assert kernel(convolution(4)).operator == "onednn.qconv2d_pointwise"
    assert kernel(linear(4)).operator == "onednn.qlinear_pointwise"
