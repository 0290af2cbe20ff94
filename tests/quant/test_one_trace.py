"""One trace for all networks of one structure: the graphs that tracing each of them gives."""

import pytest
import torch
from torch import nn

from bench.quant import layers, one_trace


class Scaled(nn.Module):
    """A network with what decides a trace: numbers, buffers, tied weights, a choice."""

    def __init__(self, scale=2.0, buffer=1.0, tied=False, doubled=False):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        if tied:
            self.second.weight = self.first.weight
        self.scale, self.doubled = scale, doubled
        self.register_buffer("shift", torch.full((3,), buffer))

    def forward(self, x):
        x = self.second(torch.relu(self.first(x))) * self.scale + self.shift
        return x * 2 if self.doubled else x


def count(monkeypatch):
    """The networks that are traced from here on."""
    found, export = [], torch.export.export

    def counted(model, *args, **words):
        found.append(model)
        return export(model, *args, **words)

    monkeypatch.setattr(torch.export, "export", counted)
    return found


def graph_of(traces, model, x):
    return traces.of(model, tuple(x.shape), lambda: layers.export(model, x))


def test_a_trace_serves_other_weights_and_gives_the_same_graph(monkeypatch):
    traces, x = one_trace.Traces(), torch.randn(2, 3)
    one, two = Scaled().eval(), Scaled().eval()
    traced = count(monkeypatch)
    graph_of(traces, one, x)
    graph = graph_of(traces, two, x)
    assert len(traced) == 1
    own = layers.export(two, x)
    assert graph.code == own.code and str(graph.graph) == str(own.graph)
    assert torch.equal(graph(x), two(x)) and not torch.equal(graph(x), one(x))
    # It shares the parameters of its own network, and the other's graph keeps those of the other.
    with torch.no_grad():
        two.first.weight.mul_(2)
    assert torch.equal(graph(x), two(x))
    assert torch.equal(graph_of(traces, one, x)(x), one(x))
    assert len(traced) == 2


@pytest.mark.parametrize(
    "change", [{"scale": 3.0}, {"buffer": 2.0}, {"tied": True}, {"doubled": True}]
)
def test_what_decides_a_trace_is_another_structure(monkeypatch, change):
    traces, x = one_trace.Traces(), torch.randn(2, 3)
    graph_of(traces, Scaled().eval(), x)
    other = Scaled(**change).eval()
    traced = count(monkeypatch)
    assert torch.equal(graph_of(traces, other, x)(x), other(x))
    assert len(traced) == 1


def test_another_class_of_the_same_name_is_another_structure():
    other = type("Scaled", (Scaled,), {"forward": lambda self, x: x})
    other.__module__, other.__qualname__ = Scaled.__module__, Scaled.__qualname__
    # Only one of both can be written down by its name.
    assert one_trace.structure(other()) is None
    assert one_trace.structure(Scaled()) is not None


def test_training_and_types_are_of_the_structure():
    assert one_trace.structure(Scaled()) == one_trace.structure(Scaled())
    assert one_trace.structure(Scaled().eval()) != one_trace.structure(Scaled())
    assert one_trace.structure(Scaled().double()) != one_trace.structure(Scaled())


def test_a_network_that_cannot_be_written_down_is_traced_by_itself(monkeypatch):
    traces, x = one_trace.Traces(), torch.randn(2, 3)
    models = [Scaled().eval(), Scaled().eval()]
    for model in models:
        model.first.register_forward_hook(lambda module, args, output: output * 2)
        assert one_trace.structure(model) is None
    traced = count(monkeypatch)
    for model in models:
        assert torch.equal(graph_of(traces, model, x)(x), model(x))
    assert len(traced) == 2


def test_no_network_is_kept(monkeypatch):
    traces, x = one_trace.Traces(), torch.randn(2, 3)
    model = Scaled().eval()
    graph_of(traces, model, x)
    (trace,) = traces._kept.values()
    assert {value.device.type for value in trace.graph.parameters()} == {"meta"}
    monkeypatch.setattr(one_trace, "MOST", 2)
    for size in range(3, 7):
        graph_of(traces, model, torch.randn(size, 3))
    assert len(traces._kept) == 2
