import dataclasses

import pytest
import torch
from helpers.toys import Toy
from torch import nn

from bench.core.errors import NotExecuted
from bench.core.scheme import Scheme
from bench.quant.at_batch import at_batch
from bench.quant.graph import layers_of, quantize_graph
from bench.quant.simulate import simulate


@pytest.mark.parametrize("words", ["w8a8+minmax", "w4a8+minmax"])
def test_an_image_is_the_same_in_another_batch(toy, toy_batches, words):
    whole = quantize_graph(toy, Scheme.parse(words), toy_batches)
    part = at_batch(whole, toy, 1)
    assert layers_of(part) == layers_of(whole)
    x, t = toy_batches[0]
    with torch.no_grad():
        expected = simulate(whole)(x, t)
        found = torch.cat([simulate(part)(x[k : k + 1], t[k : k + 1]) for k in range(len(x))])
        assert torch.allclose(found, expected, atol=1e-5)
        # The whole one is as it was.
        assert torch.equal(simulate(whole)(x, t), expected)


class ByBatch(nn.Module):
    """Another network for one image than for several."""

    def __init__(self):
        super().__init__()
        self.inner, self.more = Toy(), nn.Conv2d(1, 1, 1)

    def forward(self, x, t):
        y = self.inner(x, t)
        return self.more(y) if len(x) > 1 else y


def test_a_network_that_is_another_one_is_refused(toy, toy_batches):
    odd = dataclasses.replace(toy, model=ByBatch().eval())
    whole = quantize_graph(odd, Scheme.parse("w8a8+minmax"), toy_batches)
    with pytest.raises(NotExecuted, match="another graph for another number of images"):
        at_batch(whole, odd, 1)
