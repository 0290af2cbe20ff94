"""Costs of one layer, against networks whose weights were exchanged by hand."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.toys import Replay, noisy
from torch import nn

from bench.core.scheme import Scheme
from bench.quant.graph import layers_of, quantize_graph
from bench.quant.layers import exported
from bench.quant.rounded_alone import INPUTS, RoundedAlone, rounded
from bench.quant.weight_rows import dequantized


def measuring(denoiser, batches, size=None):
    graph = exported(denoiser, size or batches.shape[0])
    return RoundedAlone(graph, denoiser, batches)


def by_hand(denoiser, batches, weights):
    """The mean squared change of each input with other weights, by layer."""
    model = copy.deepcopy(denoiser.model)
    with torch.no_grad():
        for name, weight in weights.items():
            model.get_submodule(name).weight.copy_(weight)
        changes = [
            (model(x, t) - denoiser.model(x, t)).double().square().flatten(1).mean(1)
            for x, t in batches
        ]
    return torch.cat(changes).numpy()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_rounded_as_in_the_graph(toy, toy_batches, bits):
    graph = quantize_graph(toy, Scheme.parse(f"w{bits}a8" + "+all" * (bits < 8)), toy_batches)
    nodes = {node.name: node for node in graph.graph.nodes}
    for layer in layers_of(graph):
        if layer.weights:
            weight = toy.model.get_submodule(layer.name).weight
            assert torch.equal(rounded(weight, bits), dequantized(graph, nodes[layer.node]))


@pytest.mark.parametrize("network", ["toy", "tiny"])
def test_the_change_is_that_of_the_network(network, request):
    """One network changes values in place and starts anew, the other goes on from the layer."""
    denoiser = request.getfixturevalue(network)
    batches = request.getfixturevalue("toy_batches" if network == "toy" else "batches")
    batches = Replay(batches[:2])
    measured = measuring(denoiser, batches)
    assert measured.resumes == (network == "tiny")
    names = [n for n, m in denoiser.model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    names = [name for name in measured.first if name in names]
    chosen = names if network == "toy" else names[::12]
    for name in chosen:
        weight = denoiser.model.get_submodule(name).weight
        found = measured.alone(name, (2, 5))
        for row, bits in zip(found, (2, 5), strict=True):
            expected = by_hand(denoiser, batches, {name: rounded(weight, bits)})
            assert np.allclose(row, expected, rtol=1e-3, atol=1e-12)
    bits = dict(zip(chosen, [2, 3, 4, 5, 6, 7, 8] * 9, strict=False))
    weights = {n: rounded(denoiser.model.get_submodule(n).weight, b) for n, b in bits.items()}
    expected = by_hand(denoiser, batches, weights)
    assert np.allclose(measured.together(bits), expected, rtol=1e-3, atol=1e-12)


class Twice(nn.Module):
    """A layer that runs twice, one whose output nobody sees, and one of zeros."""

    def __init__(self):
        super().__init__()
        self.again = nn.Conv2d(1, 1, 3, padding=1)
        self.unseen = nn.Conv2d(1, 1, 1)
        self.zeros = nn.Conv2d(1, 1, 1)
        nn.init.zeros_(self.zeros.weight)

    def forward(self, x, t):
        h = self.again(torch.tanh(self.again(x)))
        return h + self.zeros(x) + 0 * self.unseen(x)


def test_a_layer_that_runs_twice_is_rounded_twice_and_one_that_changes_nothing_costs_nothing(toy):
    torch.manual_seed(0)
    denoiser = replace(toy, model=Twice().eval())
    batches = noisy((1, 6, 6))
    measured = measuring(denoiser, batches)
    (row,) = measured.alone("again", (3,))
    expected = by_hand(denoiser, batches, {"again": rounded(denoiser.model.again.weight, 3)})
    assert np.allclose(row, expected, rtol=1e-3)
    assert (row > 1e-6).all()
    for name in ("zeros", "unseen"):
        assert not measured.alone(name, (2, 3, 8)).any()


def test_there_are_no_more_inputs_than_are_asked_for(toy, toy_batches):
    many = Replay(list(toy_batches) * 5)
    assert sum(len(x) for x, _ in measuring(toy, many).batches) == INPUTS
    large = Replay([(torch.randn(30, 1, 6, 6), torch.arange(30) * 30)])
    assert [len(x) for x, _ in measuring(toy, large).batches] == [30]
    assert [len(x) for x, _ in measuring(toy, large, INPUTS).batches] == [INPUTS]
