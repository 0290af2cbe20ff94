"""The arithmetic of the products, on a CPU; on a GPU where there is one."""

import dataclasses

import pytest
import torch
from helpers.layers_by_shape import LAYERS, codes, convolution, linear

from bench.quant.graph import inputs_of
from bench.quant.kernels.cublas import LEAST_ROWS, MULTIPLE, Product, gather
from bench.quant.kernels.integer_layer import Reference
from bench.quant.kernels.lowering import lower
from bench.quant.simulate import simulate

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layer", LAYERS)
def test_products_are_exact(layer, device):
    made, given = Product(layer).to(device), codes(layer)
    y = made(given.to(device)).cpu()
    expected = Reference(layer)(given)
    assert y.shape == expected.shape and y.dtype == torch.float32
    # The integers are exact; what is left is one rounding of their product with the scales.
    assert torch.allclose(y, expected, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_range_of_the_call_is_that_of_the_layer(layer, device):
    """To the bit, whatever the range with which the layer was made."""
    given = torch.tensor(0.0173), torch.tensor(5, dtype=torch.int32)
    other = dataclasses.replace(layer, act_scale=given[0].item(), act_zero=5)
    made, numbers = Product(layer).to(device), codes(layer).to(device)
    y = made(numbers, *(value.to(device) for value in given))
    assert torch.equal(y, Product(other).to(device)(numbers))


@pytest.mark.parametrize("layer", LAYERS)
def test_what_cublas_asks_for(layer, monkeypatch):
    seen, product = [], torch._int_mm

    def watched(a, b):
        seen.append((a, b))
        return product(a, b)

    monkeypatch.setattr(torch, "_int_mm", watched)
    Product(layer)(codes(layer))
    assert len(seen) == layer.groups
    for a, b in seen:
        assert a.dtype == b.dtype == torch.int8
        assert a.shape[0] >= LEAST_ROWS > 16
        assert a.shape[1] == b.shape[0] and a.shape[1] % MULTIPLE == b.shape[1] % MULTIPLE == 0
        assert b.stride(0) == 1 and a.is_contiguous()


def test_rows_of_a_transposed_view(monkeypatch):
    """The tokens (1, 49, C) of one image of 7 x 7 are a view of (1, C, 49)."""
    layer = linear(depth=64)
    tokens = torch.randint(0, 256, (1, 64, 49), dtype=torch.uint8).mT
    seen, product = [], torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: seen.append(a) or product(a, b))
    assert torch.allclose(Product(layer)(tokens), Reference(layer)(tokens), rtol=2e-6, atol=2e-5)
    assert seen and all(a.is_contiguous() for a in seen)


def test_windows_by_hand():
    layer = convolution(8, weight=torch.zeros(1, 1, 2, 2, dtype=torch.int8), padding=(0, 1))
    image = torch.tensor([[[[1], [2]], [[3], [4]]]], dtype=torch.uint8)
    z = layer.act_zero
    expected = [[[z, 1, z, 3], [1, 2, 3, 4], [2, z, 4, z]]]
    assert gather(image, layer, z)[0].tolist() == expected


def test_whole_network(tiny_graph):
    from bench.quant.kernels.agreement import measure

    graph = tiny_graph("w8a8")
    found = measure(lower(graph, Product), simulate(graph), inputs_of(graph))
    assert found.worst_sqnr > 90


def test_layout_of_the_input_does_not_matter():
    layer = convolution(8)
    made, given = Product(layer), codes(layer)
    assert torch.equal(made(given.contiguous(memory_format=torch.channels_last)), made(given))


def test_bytes_are_those_of_the_padded_weights():
    assert Product(linear(8)).bytes == 8 * 16
    assert Product(convolution(4)).bytes == 8 * 40
