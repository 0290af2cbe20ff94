"""Functions of files that do what they must not: each an error with the file's and its own name,
and the network in full precision stays what it is."""

import pytest
import torch

from bench.core.scheme import Scheme
from bench.quant.graph import quantize_graph, told_by
from bench.quant.methods import from_file
from bench.quant.methods.applying import applied, prepared, refusal

TEXT = """
import torch
from bench.core.errors import InputError
from bench.quant.biases import set_bias
from bench.quant.graph import tell
from bench.quant.weight_rows import constants
from bench.quant.methods.rounded import rounded_layers

def nothing(graph, denoiser, calibration):
    pass

def raising(graph, denoiser, calibration):
    return graph.nodes

def leaving(graph, denoiser, calibration):
    raise SystemExit(3)

def asking(graph, denoiser, calibration):
    raise InputError("write it otherwise")

def harming(graph, denoiser, calibration):
    denoiser.model.first.weight.data.add_(1)
    return graph

def replacing(graph, denoiser, calibration):
    denoiser.model.first.bias = torch.nn.Parameter(torch.zeros(4))
    denoiser.model.train()
    return graph

def exchanging(graph, denoiser, calibration):
    denoiser.model = graph
    return graph

def _rows(graph):
    return constants(graph, rounded_layers(graph)[1].node)

def beyond(graph, denoiser, calibration):
    _rows(graph)[0].fill_(100)
    return graph

def undefined(graph, denoiser, calibration):
    _rows(graph)[1].fill_(float("nan"))
    return graph

def shifting(graph, denoiser, calibration):
    set_bias(graph, rounded_layers(graph)[0].node, torch.full((4,), float("nan")))
    return graph

def backwards(graph, denoiser, calibration):
    node = rounded_layers(graph)[0].node.args[0]
    node.args = (node.args[0], -1.0, *node.args[2:])
    return graph

def telling(graph, denoiser, calibration):
    tell(graph, "two\\nlines")
    return graph

class Early:
    def prepare(self, graph, denoiser, calibration):
        denoiser.model.last.weight.mul_(2)
        return graph
"""


@pytest.fixture
def method(tmp_path):
    """The scheme with a function of the file above."""
    from_file.forget()
    path = tmp_path / "bad.py"
    path.write_text(TEXT)
    yield lambda name: Scheme.parse(f"w4a8+python={path}:{name}")
    from_file.forget()


def changed(toy, toy_batches, scheme):
    return applied(quantize_graph(toy, scheme, toy_batches), toy, scheme, toy_batches)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "gave a NoneType, not a graph"),
        ("raising", r"fails \(AttributeError: .* has no attribute 'nodes', line 13\)"),
        ("leaving", r"fails \(SystemExit: 3, line 16\)"),
        ("asking", r"fails \(InputError: write it otherwise, line 19\)"),
        ("harming", r"changes the network in full precision, first\.weight: change the graph"),
        ("replacing", r"changes the network in full precision, first\.bias and 1 more"),
        ("exchanging", "changes the network in full precision, its model"),
        ("beyond", "the weights of layer time must be .*-8 to 7"),
        ("undefined", "of layer time must be above 0"),
        ("shifting", "the bias of layer first is not finite"),
        ("backwards", "the step of the input of layer first must be above 0"),
    ],
)
def test_what_it_must_not_do_is_an_error_with_its_name(toy, toy_batches, method, name, says):
    weights = {key: value.clone() for key, value in toy.model.state_dict().items()}
    model, parameters = toy.model, list(toy.model.parameters())
    scheme = method(name)
    assert refusal(scheme) is None
    with pytest.raises(RuntimeError, match=says) as caught:
        changed(toy, toy_batches, scheme)
    assert f"bad.py:{name}" in str(caught.value) and "\n" not in str(caught.value)
    assert toy.model is model and not model.training
    assert all(map(lambda a, b: a is b, parameters, model.parameters()))
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


def test_before_the_calibration_too(toy, toy_batches, method):
    weights = toy.model.last.weight.clone()
    with pytest.raises(RuntimeError, match=r"bad\.py:Early changes .*, last\.weight"):
        prepared(toy, method("Early"), toy_batches)
    assert torch.equal(toy.model.last.weight, weights)


def test_what_it_tells_is_kept_in_one_line(toy, toy_batches, method, capsys):
    graph = changed(toy, toy_batches, method("telling"))
    assert told_by(graph) == {"python": "two lines"}
    assert capsys.readouterr().err == "bench: python: two lines\n"


def test_it_is_executed_once(tmp_path):
    from_file.forget()
    path = tmp_path / "once.py"
    path.write_text("import sys\nsys.times = getattr(sys, 'times', 0) + 1\ndef f(g, d, c): ...\n")
    import sys

    for _ in range(3):
        assert refusal(Scheme.parse(f"w4a8+python={path}:f")) is None
    assert sys.times == 1
    del sys.times
    from_file.forget()
