import subprocess
import sys

import torch

from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends.simulated import Simulated

HOST = Host("here", "cpu", "AVX2", 1, {})


def test_refusals():
    simulated = Simulated()
    assert simulated.refuses(Scheme.parse("w4a16"), HOST) is None
    assert "nothing to simulate" in simulated.refuses(Scheme(), HOST)


def test_refusals_do_not_import_torch():
    code = (
        "import sys; from bench.quant.backends.simulated import Simulated; "
        "from bench.core.scheme import Scheme;"
        "Simulated().refuses(Scheme(), None); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_silent():
    code = "import bench.quant.graph"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_simulated_leaves_the_denoiser_alone(tiny, batches):
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    x, t = batches[0]
    with torch.inference_mode():
        expected = tiny.model(x, t)
    made = Simulated()(tiny, Scheme.parse("w4a8+minmax"), batches)
    quantized, coverage = made.denoiser, made.coverage
    assert made.calibration == "replayed"
    assert quantized is not tiny and quantized.model is not tiny.model
    assert (quantized.shape, quantized.predicts) == (tiny.shape, tiny.predicts)
    assert quantized.levels is tiny.levels
    assert coverage.kernel == "simulated"
    assert 0.9 < coverage.share < 1
    after = tiny.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.inference_mode():
        assert torch.equal(tiny.model(x, t), expected)
        assert not torch.equal(quantized.model(x, t), expected)
    assert not quantized.model.training
    assert not any(parameter.requires_grad for parameter in quantized.model.parameters())


def test_quantizing_in_inference_mode(toy, toy_batches):
    with torch.inference_mode():
        inside = type(toy_batches)((x + 0, t + 0) for x, t in toy_batches)
        quantized = Simulated()(toy, Scheme.parse("w8a8"), inside).denoiser
        y = quantized.model(*inside[0])
    again = Simulated()(toy, Scheme.parse("w8a8"), toy_batches).denoiser
    assert torch.equal(again.model(*toy_batches[0]), y)


def test_a_model_in_training_mode_is_quantized_in_evaluation_mode(toy, toy_batches):
    toy.model.train()
    try:
        quantized = Simulated()(toy, Scheme.parse("w8a8"), toy_batches).denoiser
        assert toy.model.training and toy.model.first.training
    finally:
        toy.model.eval()
    expected = Simulated()(toy, Scheme.parse("w8a8"), toy_batches).denoiser
    x, t = toy_batches[0]
    assert torch.equal(quantized.model(x, t), expected.model(x, t))
