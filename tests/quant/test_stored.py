import pytest
import torch
from helpers.toys import Replay
from safetensors.torch import load

from bench.core.scheme import Scheme
from bench.quant.graph import calibration_of, inputs_of, layers_of
from bench.quant.kernels.integer_layer import Reference
from bench.quant.kernels.lowering import lower
from bench.quant.simulate import simulate
from bench.quant.stored import INPUTS_FILE, WEIGHTS_FILE, quantized, stored_bytes
from bench.system import artifacts


class Kept(Replay):
    """A calibration with a place, that counts how often it runs."""

    runs = 0

    def __call__(self, model):
        super().__call__(model)
        self.runs += 1
        return "calibrated"


def weights(place):
    """The tensors of a folder's file, whose end holds its digest."""
    return load(artifacts.read(place / WEIGHTS_FILE, f"{place.name} {WEIGHTS_FILE}"))


@pytest.fixture
def calibrate(toy_batches, tmp_path):
    kept = Kept(toy_batches)
    kept.place = tmp_path / "place"
    return kept


@pytest.mark.parametrize(
    "words", ["w8a8", "w4a8", "w3a5+minmax", "w4a16", "w16a8", "w4a8+skip=mix"]
)
def test_a_second_look_needs_no_calibration(toy, calibrate, words):
    scheme = Scheme.parse(words)
    first = quantized(toy, scheme, calibrate)
    second = quantized(toy, scheme, calibrate)
    assert calibrate.runs == 1
    assert calibration_of(first) == calibration_of(second) == "calibrated"
    assert layers_of(second) == layers_of(first)
    assert stored_bytes(second) == stored_bytes(first)
    with torch.no_grad():
        for x, t in calibrate:
            assert torch.equal(second(x, t), first(x, t))
            assert torch.equal(simulate(second)(x, t), simulate(first)(x, t))
    for (x, t), (y, s) in zip(inputs_of(first), inputs_of(second), strict=True):
        assert torch.equal(x, y) and torch.equal(t, s)


@pytest.mark.parametrize(("words", "shared"), [("gptq", 1), ("bias", 1), ("smooth+bias", 0)])
def test_methods_share_the_calibration_without_them(toy, toy_batches, tmp_path, words, shared):
    """Unless one of them changes the network before; whichever comes first keeps it."""
    with_methods, without = Scheme.parse(f"w4a8+{words}"), Scheme.parse("w4a8")
    plain = tmp_path / "plain"
    outputs, runs = [], []
    for place, scheme in [("a", with_methods), ("plain", without), ("b", with_methods)]:
        calibrate = Kept(toy_batches)
        calibrate.place, calibrate.plain = tmp_path / place, plain
        graph = quantized(toy, scheme, calibrate)
        outputs.append(graph(*toy_batches[0]))
        runs.append(calibrate.runs)
    assert runs[1] == 1 - shared
    assert runs[0] - runs[2] == shared
    assert torch.equal(outputs[0], outputs[2]) and not torch.equal(outputs[0], outputs[1])


def test_kernels_of_a_second_look(toy, calibrate):
    graphs = [quantized(toy, Scheme.parse("w4a8"), calibrate) for _ in range(2)]
    x, t = calibrate[0]
    with torch.no_grad():
        first, second = (lower(graph, Reference)(x, t) for graph in graphs)
    assert torch.equal(first, second)


def test_four_bits_take_half_a_byte(toy, calibrate):
    graph = quantized(toy, Scheme.parse("w4a8"), calibrate)
    sizes = {name: t.nbytes for name, t in weights(calibrate.place).items()}
    assert sizes["mix.codes"] == 48 // 2 and sizes["time.codes"] == 12 // 2
    assert sizes["first.codes"] == 36  # an edge, at 8 bits
    assert "float.first.weight" not in sizes and sizes["float.first.bias"] == 16
    assert sum(sizes.values()) == stored_bytes(graph)


def test_every_parameter_is_in_the_file(tiny, batches, tmp_path):
    kept = Kept(batches)
    kept.place = tmp_path
    quantized(tiny, Scheme.parse("w8a8+minmax"), kept)
    names = set(weights(tmp_path))
    for name, _ in tiny.model.named_parameters():
        assert f"float.{name}" in names or f"{name.removesuffix('.weight')}.codes" in names, name


@pytest.mark.parametrize("file", [WEIGHTS_FILE, INPUTS_FILE])
@pytest.mark.parametrize("content", [None, b"", b"not a file of tensors"])
def test_a_file_that_is_gone_or_broken_is_made_anew(toy, calibrate, file, content):
    scheme = Scheme.parse("w8a8")
    quantized(toy, scheme, calibrate)
    path = calibrate.place / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    quantized(toy, scheme, calibrate)
    assert calibrate.runs == 2
    quantized(toy, scheme, calibrate)
    assert calibrate.runs == 2


@pytest.mark.parametrize("file", [WEIGHTS_FILE, INPUTS_FILE])
def test_one_bit_of_what_is_kept_cannot_change(toy, calibrate, file, capsys):
    """Weights and inputs of calibration that a bit was changed in are files of tensors still."""
    scheme = Scheme.parse("w8a8")
    first = quantized(toy, scheme, calibrate)
    path = calibrate.place / file
    content = bytearray(path.read_bytes())
    content[-200] ^= 4
    path.write_bytes(content)
    second = quantized(toy, scheme, calibrate)
    assert calibrate.runs == 2
    assert f"{file} is damaged (its content does not match" in capsys.readouterr().err
    x, t = calibrate[0]
    with torch.no_grad():
        assert torch.equal(second(x, t), first(x, t))


def test_a_full_disk_is_no_failure_of_the_network(toy, calibrate, monkeypatch):
    """The library of these files wraps what the system says into an error of its own."""
    import os

    from bench.system import disk

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(disk.MachineError, match="No space left on device; make room"):
        quantized(toy, Scheme.parse("w8a8"), calibrate)
    assert not list(calibrate.place.iterdir())


def test_nothing_is_kept_without_a_place(toy, toy_batches):
    kept = Kept(toy_batches)
    quantized(toy, Scheme.parse("w8a8"), kept)
    quantized(toy, Scheme.parse("w8a8"), kept)
    assert kept.runs == 2
