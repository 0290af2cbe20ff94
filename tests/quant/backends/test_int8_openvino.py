import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from helpers.toys import Replay, noisy
from torch import nn

from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError, NotExecuted
from bench.core.noise_levels import NoiseLevels
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.backends import int8_openvino
from bench.quant.backends.int8_openvino import Int8OpenVino
from bench.system.instructions import VNNI, cpu, instruction_set

X86 = Host("here", "cpu", "avx512_vnni", 1, {})
W8A8 = Scheme.parse("w8a8")
LEVELS = NoiseLevels.discrete(alpha_bar("cosine"))
on_x86 = pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)


@pytest.fixture
def openvino():
    """The kernels; without the package nothing can be executed."""
    pytest.importorskip("openvino")
    from bench.quant.kernels import openvino

    return openvino


def test_refusals():
    pytest.importorskip("openvino")
    refuses = Int8OpenVino().refuses
    assert refuses(W8A8, X86) is None
    assert refuses(W8A8, dataclasses.replace(X86, isa="aarch64")) == (
        "int8-openvino needs an x86 CPU with AVX2, and this is cpu aarch64"
    )
    assert "x86 CPU" in refuses(W8A8, dataclasses.replace(X86, device="cuda"))
    for words, says in (
        ("w4a16", "integer activations"),
        ("w16a8", "integer weights"),
        ("w8a8+tgroups=2", r"ranges that switch (tgroups): use int8-x86"),
    ):
        assert says in refuses(Scheme.parse(words), X86)


def test_a_missing_package_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr(int8_openvino, "find_spec", lambda name: None)
    expected = "int8-openvino needs openvino: pip install openvino"
    assert Int8OpenVino().refuses(W8A8, X86) == expected


def test_a_cap_under_which_openvino_crashes_is_refused():
    pytest.importorskip("openvino")

    def refuses(kind, *caps):
        isa = ", ".join([kind, *caps])
        return Int8OpenVino().refuses(W8A8, dataclasses.replace(X86, isa=isa))

    avx2, own = "ONEDNN_MAX_CPU_ISA=AVX2", "OV_CPU_MAX_ISA=AVX2"
    assert f"under {avx2} on a CPU with AVX-512, unless {own}" in refuses("avx512_vnni", avx2)
    assert refuses("avx512_vnni", avx2, own) is None
    assert refuses("avx2", avx2) is None
    assert refuses("avx512_vnni", "ONEDNN_MAX_CPU_ISA=AVX512_CORE") is None


def test_refusals_import_nothing_heavy():
    code = (
        "import sys; from bench.quant.backends.int8_openvino import Int8OpenVino;"
        "from bench.core.record import Host; from bench.core.scheme import Scheme;"
        "Int8OpenVino().refuses(Scheme(8, 8), Host('', 'cpu', 'avx2', 1, {}));"
        "assert not {'torch', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@on_x86
@pytest.mark.parametrize("words", ["w8a8", "w4a8", "w2a3+all", "w5a7", "w4a8+asymmetric"])
def test_layers_execute_in_integers(toy, toy_batches, openvino, words):
    made = Int8OpenVino()(toy, Scheme.parse(f"{words}+minmax"), toy_batches)
    coverage = made.coverage
    assert coverage.kernel == "int8 openvino" and made.calibration == "replayed"
    by_name = {layer.name: layer for layer in coverage.layers}
    for name in ("first", "mix", "last"):
        assert by_name[name].kernel.startswith("openvino.") and "I8" in by_name[name].kernel
        assert not by_name[name].reason
    quantized = sum(layer.macs for layer in coverage.layers if layer.bits != "fp32")
    assert 0 < coverage.macs_quantized == quantized < coverage.macs
    assert coverage.agreement.worst_sqnr > 90
    assert coverage.agreement.sqnr > 25
    x, t = toy_batches[0]
    with torch.inference_mode():
        assert made.denoiser.model(x, t).shape == x.shape
    with pytest.raises(ValueError, match="takes inputs of shapes"):
        made.denoiser.model(x[:1], t[:1])


@on_x86
def test_what_it_computes_in_float_is_not_called_quantized(toy, toy_batches, openvino):
    """It has no integer kernel for a linear layer of so few inputs; the scheme leaves out one."""
    coverage = Int8OpenVino()(toy, Scheme.parse("w8a8+minmax+skip=mix"), toy_batches).coverage
    layers = {layer.name: layer for layer in coverage.layers}
    assert layers["mix"].bits == "fp32" and layers["mix"].reason == "skip=mix"
    assert layers["mix"].kernel.startswith("openvino.") and "f32" in layers["mix"].kernel
    if layers["time"].bits == "fp32":
        assert layers["time"].reason == "OpenVINO computes it in float"
    quantized = sum(layers[name].macs for name in ("first", "last"))
    assert coverage.macs_quantized == quantized + (layers["time"].bits != "fp32") * 12


@on_x86
def test_a_structure_is_converted_once(toy, toy_batches, openvino, monkeypatch):
    converted = []
    translated = openvino._translated
    monkeypatch.setattr(openvino, "_CONVERTED", {})
    monkeypatch.setattr(openvino, "_translated", lambda h: converted.append(h) or translated(h))
    torch.manual_seed(1)
    other = dataclasses.replace(toy, model=type(toy.model)().eval())
    outputs = []
    for denoiser in (toy, other):
        made = Int8OpenVino()(denoiser, Scheme.parse("w8a8+minmax"), toy_batches)
        assert made.coverage.agreement.sqnr > 25
        outputs.append(made.denoiser.model(*toy_batches[0]))
    assert len(converted) == 1
    assert (outputs[0] - outputs[1]).abs().max() > 0.1


@on_x86
def test_a_wrong_layer_is_named(toy, toy_batches, openvino, monkeypatch):
    hand_over = openvino.cut

    def wrong(part):
        if part.layer.name == "mix":
            layer = dataclasses.replace(part.layer, scale=part.layer.scale * 1.02)
            part = dataclasses.replace(part, layer=layer)
        return hand_over(part)

    monkeypatch.setattr(openvino, "cut", wrong)
    with pytest.raises(RuntimeError, match=r"layer mix: openvino\.\S+ agrees .* to 3\d\.\d dB"):
        Int8OpenVino()(toy, Scheme.parse("w8a8+minmax"), toy_batches)


@on_x86
def test_two_halves_compute_the_same(toy, toy_batches, openvino, monkeypatch):
    monkeypatch.setattr(openvino, "saturates", lambda: True)
    coverage = Int8OpenVino()(toy, Scheme.parse("w8a8+minmax"), toy_batches).coverage
    kernels = {layer.name: layer.kernel for layer in coverage.layers}
    assert kernels["first"].endswith(", in two halves")
    assert coverage.agreement.worst_sqnr > 90


@on_x86
@pytest.mark.parametrize("words", ["w7a8+all", "w8a7+all"])
def test_a_reduced_range_runs_in_one_pass(toy, toy_batches, openvino, monkeypatch, words):
    monkeypatch.setattr(openvino, "saturates", lambda: True)
    coverage = Int8OpenVino()(toy, Scheme.parse(f"{words}+minmax"), toy_batches).coverage
    assert coverage.macs_quantized and not any(
        "halves" in name for name in coverage.macs_by_kernel
    )
    assert coverage.agreement.worst_sqnr > 90


SATURATING = """
import sys
sys.path[:0] = {path!r}
import torch
from helpers.toys import noisy
from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.backends.int8_openvino import Int8OpenVino
from bench.quant.kernels import openvino

class One(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.only = torch.nn.Conv2d(4, 8, 3)
    def forward(self, x, t):
        return self.only(x)

assert openvino.saturates()
torch.manual_seed(0)
one = Denoiser(One().eval(), NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (4, 7, 6))
made = Int8OpenVino()(one, Scheme.parse("w8a8+minmax"), noisy((4, 7, 6)))
print(made.coverage.agreement.worst_sqnr)
openvino.saturates = lambda: False
try:
    Int8OpenVino()(one, Scheme.parse("w8a8+minmax"), noisy((4, 7, 6)))
except RuntimeError as error:
    print(error)
"""


@on_x86
def test_saturation_is_measured_handled_and_caught(openvino):
    """On a CPU without VNNI, or one with AVX-512 that is told to do without it: two halves are
    exact, and one pass is caught by the name of the layer."""
    isa = cpu(instruction_set())
    if isa not in ("avx512_vnni", "amx_int8") and isa in VNNI:
        pytest.skip("this CPU has VNNI, which OpenVINO cannot be told to do without")
    environment = dict(os.environ, ONEDNN_MAX_CPU_ISA="AVX512_CORE")
    code = SATURATING.format(path=[path for path in sys.path if path])
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    exact, caught = done.stdout.splitlines()
    assert float(exact) > 90
    assert caught.startswith("layer ") and "agrees with the simulation" in caught


class One(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.only = nn.Conv2d(4, 8, **options)

    def forward(self, x, t):
        return self.only(x)


@on_x86
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": (2, 0), "stride": (1, 2), "groups": 2},
        {"kernel_size": (1, 5), "padding": "same", "bias": False, "dilation": 2},
    ],
)
def test_geometries(openvino, options):
    torch.manual_seed(0)
    denoiser = Denoiser(One(**options).eval(), LEVELS, "epsilon", (4, 7, 6))
    coverage = Int8OpenVino()(denoiser, Scheme.parse("w8a8+minmax"), noisy((4, 7, 6))).coverage
    assert coverage.agreement.sqnr > 100
    assert coverage.macs_quantized == coverage.macs


class Mixed(nn.Module):
    """A convolution and a linear layer of the same input."""

    def __init__(self):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(4, 4, 1), nn.Linear(16, 16)

    def forward(self, x, t):
        return self.convolution(x) + self.linear(x)


@on_x86
def test_signed_codes(openvino):
    """Of a range around zero OpenVINO makes signed codes, and names its nodes otherwise."""
    torch.manual_seed(0)
    denoiser = Denoiser(Mixed().eval(), LEVELS, "epsilon", (4, 16, 16))
    x, t = noisy((4, 16, 16))[0]
    x = x.clamp(-1, 1)
    x[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])
    made = Int8OpenVino()(denoiser, Scheme.parse("w8a8+minmax"), Replay([(x, t)]))
    coverage = made.coverage
    assert coverage.macs_quantized == coverage.macs and coverage.agreement.worst_sqnr > 90
    kernels = {layer.name: layer.kernel for layer in coverage.layers}
    assert kernels["linear"].lower().endswith("i8") and kernels["convolution"].endswith("I8")


@on_x86
def test_an_operation_without_translation_is_refused(openvino):
    class Odd(One):
        def forward(self, x, t):
            return self.only(torch.special.bessel_j0(x))

    denoiser = Denoiser(Odd(kernel_size=1).eval(), LEVELS, "epsilon", (4, 7, 6))
    with pytest.raises(NotExecuted, match=r"cannot convert .*special_bessel_j0") as caught:
        Int8OpenVino()(denoiser, Scheme.parse("w8a8+minmax"), noisy((4, 7, 6)))
    assert "\n" not in str(caught.value)


@on_x86
@pytest.mark.slow
@pytest.mark.parametrize("words", ["w4a8", "w4a8+lowrank=rank:2", "w4a8+split+asymmetric"])
def test_a_whole_network(tiny, batches, openvino, words):
    made = Int8OpenVino()(tiny, Scheme.parse(f"{words}+minmax"), batches)
    reasons = {layer.reason for layer in made.coverage.layers if layer.bits == "fp32"}
    assert "product of two activations, as in attention" in reasons
    # A branch of low rank is in float by its own will.
    assert "OpenVINO computes it in float" not in reasons
    assert made.coverage.macs_quantized > 0.8 * made.coverage.macs
    assert made.coverage.agreement.worst_sqnr > 90


@on_x86
def test_parts_of_a_batch_are_computed_at_the_same_time(openvino, toy, monkeypatch):
    """By the network of a part, which is that of the whole but for the number of images."""
    pairs = noisy((1, 6, 6), size=4)
    # Those of OpenVINO: torch's own would wait for each other on a busy machine.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    whole = Int8OpenVino()(toy, W8A8, pairs)
    made = extensions.lookup("backends", "int8-openvino:streams")()(toy, W8A8, pairs)
    odd = Int8OpenVino("streams")(toy, W8A8, noisy((1, 6, 6), size=3))
    streams = made.denoiser.model.graph
    assert len(streams.requests) == 2 and len(odd.denoiser.model.graph.requests) == 1
    assert streams.compiled.inputs[0].shape[0] == 2
    assert made.coverage.layers == whole.coverage.layers
    assert [m.coverage.kernel for m in (whole, made)] == ["int8 openvino", "int8 openvino streams"]
    x, t = pairs[0]
    y, z = whole.denoiser.model(x, t), made.denoiser.model(x, t)
    # No sum is over images, and none is split among threads: the images are the same to the bit.
    assert torch.equal(y, z) and not torch.equal(y[2:], y[:2])


def test_arguments():
    with pytest.raises(InputError, match="takes no argument but streams"):
        Int8OpenVino("threads")
