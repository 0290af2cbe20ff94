import subprocess
import sys

import pytest
import torch

from bench.quant import runtimes
from bench.quant.runtimes import RUNTIMES, executed, refusal


def test_refusals(monkeypatch):
    assert refusal("float-openvino", "cuda") == "float-openvino is timed on a CPU, not on cuda"
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert refusal("float-openvino", "cpu") == (
        "float-openvino needs openvino: pip install openvino"
    )
    assert "pip install onnxruntime onnx onnxscript" in refusal("onnxruntime", "cpu")


def test_naming_them_imports_nothing_heavy():
    code = (
        "import sys; from bench.quant import runtimes;"
        "runtimes.refusal('onnxruntime', 'cpu');"
        "assert not {'torch', 'openvino', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", RUNTIMES)
def test_they_compute_the_network(toy, toy_batches, name):
    if reason := refusal(name, "cpu"):
        pytest.skip(reason)
    x, t = toy_batches[0]
    made = executed(name, toy, len(x))
    with torch.inference_mode():
        assert torch.allclose(made(x, t), toy.model(x, t), atol=1e-5)
        # Not by chance: other inputs give another output.
        assert not torch.allclose(made(x + 1, t), toy.model(x, t), atol=1e-2)
