"""The searched weight ranges against the optimum that brute force finds."""

import pytest
import torch

from bench.core.scheme import Scheme
from bench.quant.graph import constant, dequantized, quantize_graph
from bench.quant.layers import Layer
from bench.quant.methods.applying import applied
from bench.quant.methods.rounded import RoundedLayer, codes_of, rounded_layers
from bench.quant.methods.squared_error import SquaredError, best_scale


def layer(weight, bits):
    made = Layer("layer", "linear", 0, weight.numel(), len(weight), bits, 8)
    return RoundedLayer(made, None, weight)


def error(rounded, scale):
    rounded_weight = codes_of(rounded, scale) * scale[:, None]
    return (rounded_weight - rounded.weight).double().square().sum(1)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_no_step_is_better_than_the_found_one(bits):
    """Against 20,000 steps: a bell curve, with an outlier, of one sign, and equal weights."""
    generator = torch.Generator().manual_seed(bits)
    rows = torch.randn(4, 64, generator=generator)
    rows[1, 0] = 20.0
    rows[2] = rows[2].abs()
    rows[3] = 0.7
    rounded = layer(rows, bits)
    found = best_scale(rounded)
    widest = rows.abs().amax(1) / ((2**bits - 1) / 2)
    least = error(rounded, widest)
    for share in torch.linspace(1 / 20000, 1.2, 20000):
        least = torch.minimum(least, error(rounded, widest * share))
    assert (error(rounded, found) <= least * 1.005 + 1e-9).all()
    assert (error(rounded, found) <= error(rounded, widest)).all()


def test_weights_on_a_grid_are_kept_exactly():
    """-8 to 7 steps of 0.1, whose range plain rounding widens to 8 / 7.5 steps."""
    rounded = layer(0.1 * torch.arange(-8, 8.0)[None], 4)
    (scale,) = best_scale(rounded).tolist()
    assert scale == pytest.approx(0.1, rel=1e-6)
    assert codes_of(rounded, best_scale(rounded)).tolist() == [list(range(-8, 8))]


def test_a_channel_of_zeros_stays_zero():
    rounded = layer(torch.zeros(1, 8), 4)
    scale = best_scale(rounded)
    assert scale.item() > 0 and not codes_of(rounded, scale).any()


def test_all_layers_of_a_graph_have_no_larger_error(toy, toy_batches):
    plain = quantize_graph(toy, Scheme(4, 8), toy_batches)
    scheme = Scheme.parse("w4a8+mse")
    graph = applied(plain, toy, scheme, toy_batches)
    before, after = (
        [
            (dequantized(g, found.node.args[1]) - found.weight).square().sum().item()
            for found in rounded_layers(g)
        ]
        for g in (plain, graph)
    )
    assert len(after) == 4
    assert all(new <= old for new, old in zip(after, before, strict=True))
    assert sum(after) < 0.95 * sum(before)
    node = rounded_layers(graph)[0].node
    assert constant(graph, node.args[1].args[0]).dtype == torch.int8


def test_float_weights_are_refused():
    assert "no range" in SquaredError().refuses(Scheme.parse("w16a8"))
