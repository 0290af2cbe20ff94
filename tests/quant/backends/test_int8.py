import dataclasses
import subprocess
import sys

import pytest
import torch
from helpers.toys import Toy

from bench.core import extensions
from bench.core.errors import InputError
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.models.samplers.drawing import to_uint8
from bench.quant import graph as graphs
from bench.quant.backends.int8 import Int8Cuda, Int8X86
from bench.quant.kernels import compiling, onednn
from bench.system.host import instruction_set

X86 = Host("here", "cpu", "avx2", 1, {})
ARM = Host("here", "cpu", "aarch64", 1, {})
GPU = Host("here", "cuda", "avx2", 1, {})
on_x86 = pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)


def test_refusals():
    w8a8 = Scheme.parse("w8a8")
    assert Int8X86().refuses(w8a8, X86) is None
    assert Int8X86().refuses(w8a8, ARM) == (
        "int8-x86 needs an x86 CPU with AVX2, and this is cpu aarch64"
    )
    assert "x86 CPU" in Int8X86().refuses(w8a8, GPU)
    assert Int8Cuda().refuses(w8a8, X86) == "int8-cuda needs an NVIDIA GPU, and this run is on cpu"
    assert Int8Cuda().refuses(w8a8, GPU) is None
    for backend, host in ((Int8X86(), X86), (Int8Cuda(), GPU)):
        assert "float activations" not in (backend.refuses(Scheme.parse("w2a3"), host) or "")
        assert "integer activations" in backend.refuses(Scheme.parse("w4a16"), host)
        assert "integer weights" in backend.refuses(Scheme.parse("w16a8"), host)
        assert "integer weights" in backend.refuses(Scheme(), host)


def test_refusals_do_not_import_torch():
    code = (
        "import sys; from bench.quant.backends.int8 import Int8Cuda;"
        "from bench.core.record import Host; from bench.core.scheme import Scheme;"
        "Int8Cuda().refuses(Scheme(8, 8), Host('', 'cpu', '', 1, {}));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments():
    assert extensions.lookup("backends", "int8-x86:compiled")().kernel == "int8 compiled"
    with pytest.raises(InputError, match="no argument but compiled, not 'fast'"):
        extensions.lookup("backends", "int8-x86:fast")()


@on_x86
@pytest.mark.parametrize("words", ["w8a8", "w4a8", "w6a6", "w2a8+all"])
def test_every_layer_executes_in_integers(tiny, batches, words):
    made = Int8X86()(tiny, Scheme.parse(f"{words}+minmax"), batches)
    quantized, coverage = made.denoiser, made.coverage
    integer = [layer for layer in coverage.layers if layer.kernel.startswith("onednn.q")]
    products = [layer for layer in coverage.layers if layer not in integer]
    assert len(integer) == 51
    assert {layer.reason for layer in products} == {"product of two activations, as in attention"}
    assert sum(layer.macs for layer in integer) == coverage.macs_quantized
    assert coverage.kernel == "int8"
    assert coverage.agreement.worst_sqnr > 90
    assert coverage.agreement.sqnr > 10
    if words == "w4a8":
        # Half a byte at rest for each weight but those of the edges; a byte in memory.
        assert coverage.bytes < coverage.bytes_stored < 1.1 * coverage.bytes
        assert coverage.bytes_memory > 1.5 * coverage.bytes_stored
    x, t = batches[0]
    with torch.inference_mode():
        assert quantized.model(x, t).shape == x.shape


@on_x86
def test_the_profiler_sees_the_same_operators(tiny, batches):
    """What the graph says is called, as many times, by torch's own account."""
    made = Int8X86()(tiny, Scheme.parse("w4a8+minmax"), batches)
    quantized, coverage = made.denoiser, made.coverage
    with torch.inference_mode(), torch.autograd.profiler.profile(use_kineto=False) as profile:
        quantized.model(*batches[0])
    called = [event.name.replace("::", ".") for event in profile.function_events]
    for name in ("onednn.qconv2d_pointwise", "onednn.qlinear_pointwise"):
        kernels = [layer.kernel for layer in coverage.layers if layer.kernel.startswith(name)]
        halves = sum(kernel.endswith("in two halves") for kernel in kernels)
        assert called.count(name) == len(kernels) + halves > 0
    assert not any(name in called for name in ("aten.conv2d", "aten.convolution", "aten.linear"))


@on_x86
@pytest.mark.parametrize("saturating", [True, False])
def test_a_cpu_that_saturates_gives_the_same_images(tiny, batches, monkeypatch, saturating):
    """The halves, on any machine; without them only a machine with VNNI is right."""
    if not saturating and onednn.saturates():
        pytest.skip("this CPU has no VNNI: one pass saturates")
    monkeypatch.setattr(onednn, "saturates", lambda: saturating)
    coverage = Int8X86()(tiny, Scheme.parse("w8a8+minmax"), batches).coverage
    halves = any("halves" in layer.kernel for layer in coverage.layers)
    assert halves == saturating
    assert coverage.agreement.worst_sqnr > 90


@on_x86
@pytest.mark.parametrize("words", ["w7a8+all", "w8a7+all"])
def test_a_reduced_range_runs_in_one_pass(tiny, batches, monkeypatch, words):
    monkeypatch.setattr(onednn, "saturates", lambda: True)
    coverage = Int8X86()(tiny, Scheme.parse(f"{words}+minmax"), batches).coverage
    assert coverage.macs_quantized and not any(
        "halves" in name for name in coverage.macs_by_kernel
    )
    assert coverage.agreement.worst_sqnr > 90


@on_x86
def test_saturation_is_caught(tiny, batches, monkeypatch):
    """Were the measurement wrong, the disagreeing layer would fail the cell by its name."""
    if not onednn.saturates():
        pytest.skip("this CPU has VNNI: it does not saturate")
    monkeypatch.setattr(onednn, "saturates", lambda: False)
    with pytest.raises(RuntimeError, match=r"layer unet\.\S+: onednn\.q\w+ agrees with"):
        Int8X86()(tiny, Scheme.parse("w8a8+minmax"), batches)


@on_x86
@pytest.mark.parametrize("size", [1, 5])
def test_a_batch_of_one_and_an_odd_one(tiny, batches, size):
    one = type(batches)((x[:1].repeat(size, 1, 1, 1), t[:1].repeat(size)) for x, t in batches)
    made = Int8X86()(tiny, Scheme.parse("w4a8+minmax"), one)
    quantized, coverage = made.denoiser, made.coverage
    assert coverage.agreement.worst_sqnr > 90
    x, t = one[0]
    with torch.inference_mode():
        expected = quantized.model(x, t)
        strided = torch.stack([x, x], -1)[..., 0]
        assert not strided.is_contiguous()
        assert torch.equal(quantized.model(strided, t), expected)
        assert to_uint8(expected).shape == x.shape


def test_a_quantizer_that_inserts_nothing_is_an_error(tiny, batches, monkeypatch):
    monkeypatch.setattr(graphs.LayerQuantizer, "annotate", lambda self, model: model)
    with pytest.raises(RuntimeError, match="should run at w8a8, but the quantizer made it w32a32"):
        Int8X86()(tiny, Scheme.parse("w8a8"), batches)


@on_x86
def test_a_layer_that_cannot_be_quantized_stays_in_float_by_name(tiny, batches):
    class Odd(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.last = inner, torch.nn.ConvTranspose2d(1, 1, 1)

        def forward(self, x, t):
            return self.last(self.inner(x, t))

    odd = dataclasses.replace(tiny, model=Odd(tiny.model).eval())
    coverage = Int8X86()(odd, Scheme.parse("w8a8+minmax"), batches).coverage
    layer = coverage.layers[-1]
    assert (layer.name, layer.bits, layer.kernel) == ("last", "fp32", "aten.conv_transpose2d")
    assert layer.reason == "conv_transpose2d is not supported"


@on_x86
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_networks_of_one_structure_are_compiled_once(toy, toy_batches, monkeypatch, whole):
    """Two checkpoints and two schemes, each with the numbers of its own; without a compiler the
    graph that it would be given is evaluated."""
    made, seen, compiler = [], [], torch._inductor.compile if whole else lambda graph, _: graph
    monkeypatch.setattr(compiling, "_KEPT", {})
    monkeypatch.setattr(torch._inductor, "compile", lambda *g: made.append(1) or compiler(*g))
    x, t = toy_batches[0]
    for seed in range(2):
        torch.manual_seed(seed)
        net = dataclasses.replace(toy, model=Toy().eval())
        for words in ("w8a8+minmax", "w4a8+minmax"):
            eager = Int8X86()(net, Scheme.parse(words), toy_batches).denoiser.model
            quantized = Int8X86("compiled")(net, Scheme.parse(words), toy_batches)
            assert quantized.coverage.kernel == "int8 compiled"
            compiled = quantized.denoiser.model
            with torch.no_grad():
                y = eager(x, t)
                assert torch.allclose(compiled(x, t), y, atol=1e-4 if whole else 0)
                # Whatever they are like, inputs are no reason to compile again.
                assert torch.equal(compiled(x.mT.contiguous().mT, t), compiled(x, t))
            with torch.inference_mode():
                assert torch.equal(compiled(x.clone(), t + 0), compiled(x, t))
            with pytest.raises(ValueError, match="takes inputs of shapes"):
                compiled(x[:1], t[:1])
            assert all(not torch.allclose(y, other, atol=1e-2) for other in seen)
            seen.append(y)
    assert len(made) == 1


@on_x86
def test_another_batch_is_compiled_for_itself(toy, toy_batches, monkeypatch):
    monkeypatch.setattr(compiling, "_KEPT", {})
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, _: graph)
    for size in (1, 2, 1):
        pairs = type(toy_batches)((x[:size], t[:size]) for x, t in toy_batches)
        Int8X86("compiled")(toy, Scheme.parse("w8a8+minmax"), pairs)
    assert len(compiling._KEPT) == 2


@pytest.mark.slow
@on_x86
def test_compiled_kernels_are_the_same(tiny, batches):
    eager = Int8X86()(tiny, Scheme.parse("w8a8+minmax"), batches).denoiser
    made = Int8X86("compiled")(tiny, Scheme.parse("w8a8+minmax"), batches)
    compiled, coverage = made.denoiser, made.coverage
    assert coverage.kernel == "int8 compiled"
    x, t = batches[0]
    with torch.inference_mode():
        y, z = eager.model(x, t), compiled.model(x, t)
    noise = (z - y).square().sum()
    assert 10 * torch.log10(y.square().sum() / noise) > 20
