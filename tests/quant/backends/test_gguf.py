import numpy as np
import pytest
import torch
from torch import nn

from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends import linear_only
from bench.quant.backends.gguf import GgufQ4, GgufQ8

HOST = Host("here", "cpu", "avx2", 1, {})


class Blocks(nn.Module):
    """Two layers of whole blocks, and one of none."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(64, 64), nn.Linear(64, 8, False), nn.Linear(8, 64)

    def forward(self, x, t):
        return self.c(self.b(self.a(x).relu()))


@pytest.fixture(scope="module")
def network(tiny):
    torch.manual_seed(0)
    return Denoiser(Blocks().eval(), tiny.levels, "epsilon", (1, 8, 64))


class Once:
    shape = (2, 1, 8, 64)


@pytest.mark.parametrize(("backend", "bits", "least"), [(GgufQ8, 8.5, 40), (GgufQ4, 4.5, 16)])
def test_weights_are_those_of_the_package(backend, bits, least, network):
    quants = pytest.importorskip("gguf").quants
    kind = pytest.importorskip("gguf").GGMLQuantizationType[backend.kind]
    made = backend()(network, Scheme.parse(backend.bits), Once())
    x, t = network.example_inputs(2)
    x = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))

    def rounded(layer):
        weight = layer.weight.detach().numpy()
        return torch.from_numpy(quants.dequantize(quants.quantize(weight, kind), kind))

    model = network.model
    with torch.inference_mode():
        h = nn.functional.linear(x, rounded(model.a), model.a.bias).relu()
        expected = model.c(nn.functional.linear(h, rounded(model.b)))
        output, full = made.denoiser.model(x, t), model(x, t)
    # diffusers multiplies codes and steps in float16.
    assert torch.allclose(output, expected, atol=5e-4)
    noise = (output - full).square().sum()
    assert least < 10 * torch.log10(full.square().sum() / noise) < 80
    coverage = made.coverage
    assert ("c", "has 8 inputs, which are no multiple of 32") in coverage.skipped
    assert coverage.params_quantized == 64 * 64 + 64 * 8
    floats = 4 * (coverage.params - coverage.params_quantized)
    assert coverage.bytes_memory == floats + int(coverage.params_quantized * bits / 8)
    assert np.isclose(coverage.share, (64 * 64 + 64 * 8) / (64 * 64 + 2 * 64 * 8))


@pytest.mark.parametrize("backend", [GgufQ8, GgufQ4])
def test_refusals(backend, monkeypatch):
    assert f"executes {backend.bits} only" in backend().refuses(Scheme.parse("w4a8"), HOST)
    assert extensions.lookup("backends", backend.kernel) is backend
    monkeypatch.setattr(linear_only, "find_spec", lambda name: None)
    reason = backend().refuses(Scheme.parse(backend.bits), HOST)
    assert reason == f"{backend.kernel} needs gguf: pip install gguf"
