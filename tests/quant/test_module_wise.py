"""Networks without a graph: their layers, and their simulation module by module."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers.toys import Toy, noisy
from torch import nn

from bench.core.errors import NotExecuted
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant import module_layers, module_wise
from bench.quant.backends.full_precision import FullPrecision
from bench.quant.backends.int8 import Int8X86
from bench.quant.backends.linear_only import AoInt8
from bench.quant.backends.simulated import Simulated
from bench.quant.layers import layers, untraceable

HOST = Host("here", "cpu", "AVX2", 1, {})


class Branching(Toy):
    """The same function by a branch on values, which torch.export cannot trace."""

    def forward(self, x, t):
        if x.abs().sum() < 0:
            return x
        return super().forward(x, t)


@pytest.fixture
def branching(toy):
    model = Branching().eval().requires_grad_(False)
    model.load_state_dict(toy.model.state_dict())
    return replace(toy, model=model)


@pytest.fixture
def batches(toy):
    return noisy(toy.shape)


def parts(layer):
    return layer.name, layer.macs, layer.weights, layer.channels, layer.bits


@pytest.mark.parametrize("text", ["fp32", "w4a8", "w4a8+skip-io", "w4a16", "w8a8+skip=tim*"])
def test_the_layers_are_those_of_the_graph(toy, text):
    scheme = Scheme.parse(text)
    of_graph = [parts(layer) for layer in layers(toy, scheme, 3) if layer.weights]
    of_modules = module_layers.layers(toy, scheme, 3)
    assert [parts(layer) for layer in of_modules if layer.weights] == of_graph
    total = sum(layer.macs for layer in layers(toy, scheme, 3))
    assert sum(layer.macs for layer in of_modules) == total


@pytest.mark.parametrize("text", ["w4a8", "w8a8+minmax", "w4a16", "w4a8+all"])
def test_the_simulation_is_that_of_the_graph_to_the_bit(toy, batches, text):
    scheme = Scheme.parse(text)
    before = {name: value.clone() for name, value in toy.model.state_dict().items()}
    of_graph = Simulated()(toy, scheme, batches)
    of_modules = module_wise.simulated(toy, scheme, batches, "it has no graph")
    assert of_modules.calibration == "replayed"
    for name in ("macs", "macs_quantized", "params", "params_quantized", "bytes", "macs_by_bits"):
        assert getattr(of_modules.coverage, name) == getattr(of_graph.coverage, name)
    with torch.inference_mode():
        for inputs in batches:
            expected = of_graph.denoiser.model(*inputs)
            assert torch.equal(of_modules.denoiser.model(*inputs), expected)
            assert not torch.equal(expected, toy.model(*inputs))
    assert all(torch.equal(value, before[name]) for name, value in toy.model.state_dict().items())


def test_a_network_without_a_graph_is_told_by_its_line_and_runs(branching, batches):
    reason = untraceable(branching, 3)
    assert "test_module_wise.py, line 26 `if x.abs().sum() < 0:`" in reason
    made = Simulated()(branching, Scheme.parse("w4a8"), batches)
    assert made.coverage.told["simulation"].startswith("module by module, as torch.export cannot")
    assert made.coverage.macs_quantized == 4332
    full = FullPrecision()(branching, Scheme(), batches)
    assert full.coverage.macs == made.coverage.macs
    linear = AoInt8()(branching, Scheme.parse("w8a8"), batches)
    assert 0 < linear.coverage.share < made.coverage.share
    with torch.inference_mode():
        for each in (made, full, linear):
            assert each.denoiser.model(*batches[0]).isfinite().all()


@pytest.mark.parametrize("text", ["w4a8+bias", "w~4.5a8"])
def test_what_needs_the_graph_is_refused(branching, batches, text):
    with pytest.raises(NotExecuted, match=r"torch.export cannot trace .* need its graph"):
        Simulated()(branching, Scheme.parse(text), batches)
    with pytest.raises(NotExecuted, match=r"torch.export cannot trace"):
        Int8X86()(branching, Scheme.parse("w8a8"), batches)


def test_what_is_no_module_stays_in_float(branching, batches):
    class Shared(Branching):
        def forward(self, x, t):
            return torch.nn.functional.conv2d(super().forward(x, t), self.last.weight[:, :1])

    model = Shared().eval().requires_grad_(False)
    coverage = Simulated()(replace(branching, model=model), Scheme.parse("w4a8"), batches).coverage
    reasons = [reason for _, reason in coverage.skipped]
    assert any(reason.startswith("a product without stored weights") for reason in reasons)


def test_attention_on_a_cpu_is_counted():
    """Two products of 3 images, 2 heads, 4 tokens and 8 channels, as torch's own table counts."""

    class Attention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    x = torch.ones(3, 2, 4, 8)
    denoiser = SimpleNamespace(model=Attention(), example_inputs=lambda batch: (x,))
    (product,) = module_layers.executed(denoiser, 3)
    assert product.operator == "aten._scaled_dot_product_flash_attention_for_cpu"
    assert (product.macs, product.shape) == (2 * 3 * 2 * 4 * 4 * 8, ())
