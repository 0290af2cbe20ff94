"""Graphs that are written alike are recognized, and any other number, order or operator is not."""

import copy
import operator

import pytest
import torch
from torch import nn

from bench.quant.same_graphs import are_same


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(4.0))

    def forward(self, x):
        return (x * self.weight + 1).clamp(0, 3) - x


@pytest.fixture
def graph():
    return torch.export.export(Small(), (torch.ones(2, 4),)).module()


def node(graph, name):
    return next(each for each in graph.graph.nodes if each.name == name)


def test_a_copy_is_the_same_whatever_its_names_and_the_place_of_its_constants(graph):
    other = copy.deepcopy(graph)
    weight = node(other, "weight")
    weight.name = "another"
    next(iter(other.graph.nodes)).prepend(weight)
    other.graph.lint()
    assert are_same(graph, other) and are_same(other, graph)


def changed_constant(graph):
    with torch.no_grad():
        graph.weight[2] += 1e-6


def other_type(graph):
    graph.weight = nn.Parameter(graph.weight.double())


def changed_number(graph):
    node(graph, "clamp").args = (node(graph, "add"), 0, 4)


def whole_number(graph):
    node(graph, "clamp").args = (node(graph, "add"), 0, 3.0)


def other_operator(graph):
    node(graph, "clamp").target = torch.ops.aten.hardtanh.default


def other_operand(graph):
    node(graph, "sub").args = (node(graph, "clamp"), node(graph, "mul"))


def one_more(graph):
    with graph.graph.inserting_before(node(graph, "sub")):
        graph.graph.call_function(operator.neg, (node(graph, "clamp"),))


def another_module(graph):
    graph.add_submodule("own", nn.Identity())
    with graph.graph.inserting_before(node(graph, "sub")):
        made = graph.graph.call_module("own", (node(graph, "clamp"),))
    node(graph, "sub").args = (made, node(graph, "x"))


@pytest.mark.parametrize(
    "change",
    [
        changed_constant,
        other_type,
        changed_number,
        whole_number,
        other_operator,
        other_operand,
        one_more,
    ],
)
def test_any_difference_is_seen(graph, change):
    other = copy.deepcopy(graph)
    change(other)
    assert not are_same(graph, other) and not are_same(other, graph)


def test_modules_are_not_looked_into(graph):
    another_module(graph)
    assert not are_same(graph, copy.deepcopy(graph))
