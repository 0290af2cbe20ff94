"""The searched weight ranges against the optimum that brute force finds."""

import pytest
import torch

from bench.core.scheme import Scheme
from bench.quant.graph import quantize_graph
from bench.quant.methods.applying import applied
from bench.quant.methods.rounded import rounded_layers
from bench.quant.methods.squared_error import SquaredError, best_range, best_steps
from bench.quant.weight_rows import constants, dequantized


def limits(bits):
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def numbers(rows, steps, bits):
    return (rows / steps[:, None]).round().clamp(*limits(bits))


def error(rows, steps, bits):
    return (numbers(rows, steps, bits) * steps[:, None] - rows).double().square().sum(1)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_no_step_is_better_than_the_found_one(bits):
    """Against 20,000 steps: a bell curve, with an outlier, of one sign, and equal weights."""
    generator = torch.Generator().manual_seed(bits)
    rows = torch.randn(4, 64, generator=generator)
    rows[1, 0] = 20.0
    rows[2] = rows[2].abs()
    rows[3] = 0.7
    found = best_steps(rows, limits(bits))
    widest = rows.abs().amax(1) / ((2**bits - 1) / 2)
    least = error(rows, widest, bits)
    for share in torch.linspace(1 / 20000, 1.2, 20000):
        least = torch.minimum(least, error(rows, widest * share, bits))
    assert (error(rows, found, bits) <= least * 1.005 + 1e-9).all()
    assert (error(rows, found, bits) <= error(rows, widest, bits)).all()


def test_weights_on_a_grid_are_kept_exactly():
    """-8 to 7 steps of 0.1, whose range plain rounding widens to 8 / 7.5 steps."""
    rows = 0.1 * torch.arange(-8, 8.0)[None]
    steps = best_steps(rows, limits(4))
    assert steps.item() == pytest.approx(0.1, rel=1e-6)
    assert numbers(rows, steps, 4).tolist() == [list(range(-8, 8))]


def test_a_channel_of_zeros_stays_zero():
    rows = torch.zeros(1, 8)
    steps = best_steps(rows, limits(4))
    assert steps.item() > 0 and not numbers(rows, steps, 4).any()


@pytest.mark.parametrize("bits", [2, 4])
def test_affine_ranges_are_the_best_share_of_the_whole_one(bits):
    """Against 100 shares by the definition; weights of one sign use all codes."""
    rows = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)) + 1
    rows[0, 0], rows[1] = 20.0, rows[1].abs()
    steps, zeros = best_range(rows, bits)
    low, high = limits(bits)

    def error(step, zero):
        codes = ((rows / step[:, None]).round() + zero[:, None]).clamp(low, high)
        return ((codes - zero[:, None]) * step[:, None] - rows).double().square().sum(1)

    least = torch.full((3,), torch.inf, dtype=torch.float64)
    for share in torch.linspace(0.01, 1, 100):
        bottom, top = rows.amin(1).clamp(max=0) * share, rows.amax(1).clamp(min=0) * share
        step = (top - bottom) / (2**bits - 1)
        least = torch.minimum(least, error(step, (low - bottom / step).round()))
    assert torch.allclose(error(steps, zeros), least, rtol=1e-4)
    assert zeros[1] == low and ((zeros >= low) & (zeros <= high)).all()


def test_all_layers_of_a_graph_have_no_larger_error(toy, toy_batches):
    plain = quantize_graph(toy, Scheme(4, 8), toy_batches)
    scheme = Scheme.parse("w4a8+mse")
    graph = applied(plain, toy, scheme, toy_batches)
    before, after = (
        [
            (dequantized(g, found.node) - found.weight).square().sum().item()
            for found in rounded_layers(g)
        ]
        for g in (plain, graph)
    )
    assert len(after) == 4
    assert all(new <= old for new, old in zip(after, before, strict=True))
    assert sum(after) < 0.95 * sum(before)
    node = rounded_layers(graph)[0].node
    assert constants(graph, node)[0].dtype == torch.int8


def test_float_weights_are_refused():
    assert "no range" in SquaredError().refuses(Scheme.parse("w16a8"))
