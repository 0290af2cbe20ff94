import logging

import pytest
import torch

from bench.core import extensions
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends import linear_only
from bench.quant.backends.linear_only import AoInt8, AoInt8Weight, BnbFp4, BnbInt8, BnbNf4

HOST = Host("here", "cpu", "avx2", 1, {})
BACKENDS = {
    # An integer product where the CPU has AVX-512, float ones of expanded weights elsewhere.
    BnbInt8: (35, {"aten.mm", "aten.addmm", "aten._int_mm", "bitsandbytes.int8_linear_matmul"}),
    BnbNf4: (10, {"aten.mm", "aten.bmm", "aten.addmm"}),
    BnbFp4: (8, {"aten.mm", "aten.bmm", "aten.addmm"}),
    AoInt8: (35, {"aten._int_mm"}),
    AoInt8Weight: (40, {"aten.mm", "aten.bmm", "aten.addmm"}),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_linear_layers_alone_are_replaced(tiny, batches, backend):
    pytest.importorskip(backend.package)
    least, products = BACKENDS[backend]
    x, t = batches[0]
    with torch.inference_mode():
        before = tiny.model(x, t)
        made = backend()(tiny, Scheme.parse(backend.bits), batches)
        quantized, coverage = made.denoiser, made.coverage
        noise = quantized.model(x, t) - before
        assert torch.equal(tiny.model(x, t), before)
    sqnr = 10 * torch.log10(before.square().sum() / noise.square().sum()).item()
    assert least < sqnr < 90
    linear = [la for la in coverage.layers if la.bits == Scheme.parse(backend.bits).__str__()]
    assert linear and 0 < coverage.share < 0.2
    assert {layer.kernel for layer in linear} <= products
    others = [layer for layer in coverage.layers if layer not in linear]
    assert {layer.bits for layer in others} == {"fp32"} and all(la.reason for la in others)
    assert ("unet.conv_in", f"{backend.package} quantizes linear layers only") in coverage.skipped
    assert coverage.kernel == backend.kernel
    assert coverage.macs_quantized == sum(layer.macs for layer in linear)


def test_bytes_are_measured(tiny, batches):
    coverage = AoInt8()(tiny, Scheme.parse("w8a8"), batches).coverage
    full = sum(p.nbytes for p in tiny.model.parameters())
    # Three of the four bytes of each linear weight are gone, and scales are added.
    saved = 3 * coverage.params_quantized
    assert (
        full - saved
        < coverage.bytes_memory
        < full - saved + 16 * coverage.params_quantized**0.5 * 20
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_budget_of_bits_is_refused(backend):
    reason = backend().refuses(Scheme.parse("w~4.5a8"), HOST)
    assert reason.endswith("gives all layers " + backend.bits + ", and knows no budget of bits")


def test_skipped_layers_stay_in_float(tiny, batches):
    coverage = AoInt8()(tiny, Scheme.parse("w8a8+skip=*time*"), batches).coverage
    kernels = {layer.name: layer.kernel for layer in coverage.layers}
    assert kernels["unet.time_embedding.linear_1"] == "aten.linear"
    assert "aten._int_mm" in kernels.values()


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_schemes_are_refused(backend):
    refused = backend().refuses(Scheme.parse("w4a4"), HOST)
    assert (
        refused
        == f"{backend.kernel} executes {backend.bits} only: ask for --scheme {backend.bits}"
    )
    assert backend().refuses(Scheme(), HOST)
    assert extensions.lookup("backends", backend.kernel) is backend


def test_a_missing_package_is_refused(monkeypatch):
    monkeypatch.setattr(linear_only, "find_spec", lambda name: None)
    assert "pip install bitsandbytes" in BnbNf4().refuses(Scheme.parse("w4a16"), HOST)


def test_a_network_without_linear_layers(batches, tiny):
    from dataclasses import replace

    class Convolution(torch.nn.Conv2d):
        def forward(self, x, t):
            return super().forward(x)

    model = replace(tiny, model=Convolution(1, 1, 3, padding=1).eval())
    with pytest.raises(RuntimeError, match="ao-int8 found no linear layer"):
        AoInt8()(model, Scheme.parse("w8a8"), batches)


def test_nothing_is_written_to_the_terminal(tiny, batches, capfd):
    AoInt8()(tiny, Scheme.parse("w8a8"), batches)
    assert capfd.readouterr() == ("", "")


def test_bitsandbytes_does_not_speak_of_each_product(tiny, batches):
    """Its warning of each product reaches the terminal by the logger of this name."""
    pytest.importorskip("bitsandbytes")
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append
    own = logging.getLogger("bitsandbytes.autograd._functions")
    own.addHandler(handler)
    try:
        quantized = BnbInt8()(tiny, Scheme.parse("w8a8"), batches).denoiser
        with torch.inference_mode():
            quantized.model(*batches[0])
        assert not heard
        own.warning("another message")
        assert [record.getMessage() for record in heard] == ["another message"]
    finally:
        own.removeHandler(handler)
