"""The quick trace gives OpenVINO the network that a second export gives it, to the bit."""

import pytest
import torch

from bench.core.scheme import Scheme
from bench.quant.graph import quantize_graph
from bench.quant.kernels.handing_over import hand_over

openvino = pytest.importorskip("bench.quant.kernels.openvino")


@pytest.fixture
def handed(tiny, batches):
    """With attention, upsampling, and group normalization."""
    return hand_over(quantize_graph(tiny, Scheme.parse("w4a8+minmax"), batches), lambda p: [p])


def outputs(handed, inputs, monkeypatch):
    monkeypatch.setattr(openvino, "_CONVERTED", {})
    return openvino.Compiled(openvino.convert(handed), handed.inputs).outputs(*inputs)


def test_both_give_the_same_bits(handed, batches, monkeypatch):
    def never(graph, examples):
        raise AssertionError("the other way was taken")

    with monkeypatch.context() as changed:
        changed.setattr(openvino, "exported", never)
        quick = outputs(handed, batches[0], changed)
    with monkeypatch.context() as changed:
        changed.setattr(openvino, "traced", lambda graph, examples: graph)
        thorough = outputs(handed, batches[0], changed)
    assert len(quick) == len(thorough) > 10
    assert all(map(torch.equal, quick, thorough))
