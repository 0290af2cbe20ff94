"""What is held against each method's graph, and what becomes of a graph no file can hold."""

import pytest
import torch
from helpers.toys import Replay

from bench.core import extensions
from bench.core.scheme import Scheme
from bench.quant.graph import layers_of, quantize_graph
from bench.quant.methods.applying import applied
from bench.quant.methods.rounded import rounded_layers
from bench.quant.simulate import simulate
from bench.quant.stored import quantized
from bench.quant.weight_rows import constant

SCHEME = Scheme(4, 8, methods=("mine",))


@pytest.fixture
def acting(monkeypatch):
    """Makes a function of a graph the method of the scheme."""

    def put(change):
        class Mine:
            version = 1

            def refuses(self, scheme):
                return None

            def __call__(self, graph, denoiser, calibration):
                return change(graph, denoiser)

        monkeypatch.setattr(extensions, "lookup", lambda table, name: Mine)

    return put


def codes_too_large(graph, denoiser):
    node = rounded_layers(graph)[1].node
    constant(graph, node.args[1].args[0]).fill_(8)
    return graph


def scale_of_zero(graph, denoiser):
    node = rounded_layers(graph)[0].node
    constant(graph, node.args[1].args[1]).zero_()
    return graph


def float_weights(graph, denoiser):
    first = rounded_layers(graph)[0].node
    graph.register_buffer("mine", denoiser.model.first.weight.detach().clone())
    with graph.graph.inserting_before(first):
        made = graph.graph.get_attr("mine")
    first.args = (first.args[0], made, *first.args[2:])
    return graph


def read_by_another_range(graph, denoiser):
    read = rounded_layers(graph)[0].node.args[0]
    read.args = (read.args[0], 2 * read.args[1], *read.args[2:])
    return graph


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (codes_too_large, "the weights of layer time must be from -8 to 7, and are from 8 to 8"),
        (scale_of_zero, "the steps of layer first must be above 0"),
        (float_weights, "layer first should run at w8a8, but the quantizer made it w32a8"),
        (read_by_another_range, "layer first is rounded by one range and read by another"),
        (lambda graph, denoiser: None, "gave a NoneType, not a graph"),
    ],
)
def test_what_no_execution_could_share_is_an_error(toy, toy_batches, acting, change, says):
    graph = quantize_graph(toy, Scheme(4, 8), toy_batches)
    acting(change)
    with pytest.raises(RuntimeError, match=says) as caught:
        applied(graph, toy, SCHEME, toy_batches)
    assert "method mine" in str(caught.value)


def test_without_methods_the_graph_is_the_same_object(toy, toy_batches):
    graph = quantize_graph(toy, Scheme(4, 8), toy_batches)
    assert applied(graph, toy, Scheme(4, 8), toy_batches) is graph


def test_methods_act_in_inference_mode_too(toy, toy_batches):
    """As probes ask for a graph."""
    scheme = Scheme.parse("w4a8+mse+bias")
    plain = applied(quantize_graph(toy, scheme, toy_batches), toy, scheme, toy_batches)
    with torch.inference_mode():
        graph = applied(quantize_graph(toy, scheme, toy_batches), toy, scheme, toy_batches)
    x, t = toy_batches[0]
    with torch.no_grad():
        assert torch.equal(graph(x, t), plain(x, t))


class Counted(Replay):
    """A calibration with a place, that counts how often it runs."""

    runs = 0

    def __call__(self, model):
        self.runs += 1
        return super().__call__(model)


def changed_in_place(graph, denoiser):
    """A float weight of the network, which the full-precision twin must not see."""
    graph.get_parameter("first.bias").add_(1)
    return graph


def doubled_output(graph, denoiser):
    """Something that no constants say."""
    output = next(node for node in graph.graph.nodes if node.op == "output")
    value = output.all_input_nodes[0]
    with graph.graph.inserting_before(output):
        twice = graph.graph.call_function(torch.ops.aten.add.Tensor, (value, value))
    output.replace_input_with(value, twice)
    return graph


@pytest.mark.parametrize(("change", "runs"), [(changed_in_place, 1), (doubled_output, 2)])
def test_a_second_look_is_the_same_graph(toy, toy_batches, acting, tmp_path, change, runs):
    """From the file where it can hold it, else made anew; never another graph."""
    acting(change)
    kept = Counted(toy_batches)
    kept.place = tmp_path / "place"
    weights = {name: tensor.clone() for name, tensor in toy.model.state_dict().items()}
    first, second = (quantized(toy, SCHEME, kept) for _ in range(2))
    assert kept.runs == runs
    plain = quantize_graph(toy, Scheme(4, 8), toy_batches)
    x, t = toy_batches[0]
    with torch.no_grad():
        assert torch.equal(simulate(first)(x, t), simulate(second)(x, t))
        assert not torch.equal(first(x, t), plain(x, t))
    assert layers_of(first) == layers_of(second)
    assert all(torch.equal(weights[name], t) for name, t in toy.model.state_dict().items())
