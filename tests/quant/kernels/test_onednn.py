import dataclasses

import pytest
import torch
from helpers.layers_by_shape import LAYERS, codes, convolution, linear

from bench.quant.kernels import onednn
from bench.quant.kernels.integer_layer import Reference
from bench.quant.kernels.onednn import Halves, OneDnn, kernel, may_saturate, saturates
from bench.system.instructions import VNNI, instruction_set, of_onednn

pytestmark = pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)


@pytest.mark.parametrize("layer", LAYERS)
def test_kernels_are_exact(layer):
    made = kernel(layer)
    given = codes(layer)
    expected = Reference(layer)(given)
    # The integers are exact; what is left is one rounding of their product with the scales.
    assert torch.allclose(made(given), expected, rtol=2e-6, atol=2e-5)
    assert made(given).dtype == torch.float32


@pytest.mark.parametrize("packed, called", [(0, 99), (99, 0), (0, 0), (1, 255)])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_range_of_the_call_is_that_of_the_layer(layer, packed, called):
    """Weights are packed once: the zero point there decides nothing of a call with another."""
    packed, called = min(packed, layer.act_high), min(called, layer.act_high)
    given = torch.tensor(0.0173), torch.tensor(called, dtype=torch.int32)
    made = kernel(dataclasses.replace(layer, act_zero=packed))
    other = dataclasses.replace(layer, act_scale=given[0].item(), act_zero=called)
    numbers = codes(layer)
    y = made(numbers, *given)
    assert torch.allclose(y, Reference(other)(numbers), rtol=2e-6, atol=2e-5)
    assert torch.equal(y, kernel(other)(numbers))


@pytest.mark.parametrize("layer", [convolution(8), linear(8)])
def test_layout_of_the_input_does_not_matter(layer):
    made, given = kernel(layer), codes(layer)
    strided = torch.stack([given, given], -1)[..., 0]
    assert not strided.is_contiguous()
    assert torch.equal(made(strided), made(given))
    if layer.is_convolution:
        assert torch.equal(made(given.contiguous(memory_format=torch.channels_last)), made(given))


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
    assert saturates() == (of_onednn(instruction_set()) not in VNNI)


def test_halves_sum_to_the_whole():
    layer = convolution(8)
    halves = Halves(layer)
    first, second = halves.first.layer, halves.second.layer
    assert torch.equal(first.weight + second.weight, layer.weight)
    assert not may_saturate(first) and not may_saturate(second)
    given = codes(layer)
    assert torch.allclose(halves(given), Reference(layer)(given), rtol=2e-6, atol=2e-5)
    assert halves.bytes == 2 * layer.weight.numel()
    assert halves.operator == "onednn.qconv2d_pointwise, in two halves"


@pytest.mark.parametrize("saturating, made", [(True, Halves), (False, OneDnn)])
def test_halves_are_taken_only_where_they_are_needed(monkeypatch, saturating, made):
    monkeypatch.setattr(onednn, "saturates", lambda: saturating)
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
