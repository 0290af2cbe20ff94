"""Bias correction: exact where mathematics gives the numbers, and the same in every execution."""

import functools

import pytest
import torch
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay
from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.backends.int8 import Int8X86
from bench.quant.backends.simulated import Simulated
from bench.quant.graph import calibration_of, layers_of, quantize_graph
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.bias_correction import BiasCorrection
from bench.quant.stored import quantized
from bench.quant.weight_rows import constant
from bench.system.host import instruction_set


class OneLayer(nn.Module):
    """One layer on x, as images of the shape of x."""

    def __init__(self, layer, view=None):
        super().__init__()
        self.layer, self.view = layer, view

    def forward(self, x, t):
        y = self.layer(x.flatten(1) if self.view else x)
        return y.view(x.shape) if self.view else y


def linear(bias):
    """A linear layer of four inputs and outputs, whose weights a scheme of 2 bits rounds a lot."""
    layer = nn.Linear(4, 4, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(
            torch.tensor([[1.5, 0.4, -0.3, 0.2]]).repeat(4, 1) * torch.eye(4).add(1)
        )
    return Denoiser(
        OneLayer(layer, view=True).eval(),
        NoiseLevels.discrete(alpha_bar("cosine")),
        "epsilon",
        (1, 2, 2),
    )


def convolution(bias):
    """A convolution with padding, whose error at the borders is another than inside."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layer = nn.Conv2d(1, 1, 3, padding=1, bias=bias)
    return Denoiser(
        OneLayer(layer).eval(), NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 5, 5)
    )


def shifted(shape, count=3, size=4):
    """Inputs whose mean is far from 0, another one at each place."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.linspace(-1, 2, shape[0] * shape[1] * shape[2]).view(shape)
    return Replay(
        (mean + torch.rand(size, *shape, generator=generator), torch.full((size,), 500 * k))
        for k in range(count)
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [linear, convolution])
def test_the_mean_error_of_the_output_becomes_zero(make, bias):
    """Of every channel over the calibration's inputs, where only the weights are rounded."""
    full = make(bias)
    pairs = shifted(full.shape)
    scheme = Scheme.parse("w2a16+all")
    plain = quantize_graph(full, scheme, pairs)
    corrected = BiasCorrection()(quantize_graph(full, scheme, pairs), full, pairs)
    corrected.recompile()

    def error(graph):
        with torch.no_grad():
            errors = [(graph(x, t) - full.model(x, t)).double() for x, t in pairs]
        # A channel of the linear layer is a place of the image.
        axes = (0,) if make is linear else (0, 2, 3)
        return torch.cat(errors).mean(axes).abs().max().item()

    assert error(plain) > 0.005
    assert error(corrected) < 1e-6


def test_an_injected_bias_is_removed_to_the_number():
    """Weights 1.5 and 0.4 at 2 bits are steps of 1: codes 1 (clamped) and 0, errors -0.5, -0.4."""
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.5, 0.4], [1.5, -0.4]]))
        layer.bias.zero_()
    full = Denoiser(
        OneLayer(layer, view=True).eval(),
        NoiseLevels.discrete(alpha_bar("cosine")),
        "epsilon",
        (1, 1, 2),
    )
    x = torch.tensor([[1.0, 4.0], [3.0, 6.0]]).view(2, 1, 1, 2)
    pairs = Replay([(x, torch.tensor([1, 2]))])
    graph = applied(
        quantize_graph(full, Scheme.parse("w2a16+all"), pairs),
        full,
        Scheme.parse("w2a16+all+bias"),
        pairs,
    )
    (found,) = layers_of(graph)
    node = next(n for n in graph.graph.nodes if n.name == found.node)
    # Means (2, 5): -(-0.5 x 2 - 0.4 x 5) and -(-0.5 x 2 + 0.4 x 5).
    assert constant(graph, node.args[2]).tolist() == pytest.approx([3.0, -1.0], abs=1e-6)
    assert layer.bias.tolist() == [0, 0]


def test_layers_are_found_in_the_graph_and_only_biases_change(toy, toy_batches):
    scheme = Scheme.parse("w4a8+bias")
    plain = quantize_graph(toy, Scheme.parse("w4a8"), toy_batches)
    before = {name: tensor.clone() for name, tensor in toy.model.state_dict().items()}
    graph = applied(plain, toy, scheme, toy_batches)
    ends = {f"{layer.node}_bias" for layer in layers_of(graph) if layer.weights}
    assert len(ends) == 4
    nodes = {node.name: node for node in graph.graph.nodes}
    for layer in layers_of(graph):
        if layer.weights:
            assert nodes[layer.node].args[2].target == f"{layer.node}_bias"
            assert constant(graph, nodes[layer.node].args[2]).shape == (layer.channels,)
    assert all(torch.equal(before[name], t) for name, t in toy.model.state_dict().items())
    # The graph that was given is as it was.
    again = quantize_graph(toy, Scheme.parse("w4a8"), toy_batches)
    x, t = toy_batches[0]
    with torch.no_grad():
        assert torch.equal(plain(x, t), again(x, t))
        assert not torch.equal(plain(x, t), graph(x, t))


def test_integer_kernels_run_the_corrected_graph(toy, toy_batches, tmp_path):
    """Also out of the file that keeps it."""
    first, second = assert_one_graph("w4a8+bias", toy, toy_batches, tmp_path / "place")
    assert calibration_of(second) == "replayed"
    with torch.no_grad():
        assert torch.equal(first(*toy_batches[0]), second(*toy_batches[0]))


@pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)
def test_kernels_of_this_machine_agree_with_the_simulation(toy, toy_batches):
    scheme = Scheme.parse("w4a8+bias")
    made = assert_kernels_agree("w4a8+bias", toy, toy_batches)
    plain = Int8X86()(toy, Scheme.parse("w4a8"), toy_batches)
    simulated = Simulated()(toy, scheme, toy_batches)
    x, t = toy_batches[0]

    def distance(one, other):
        return (one.denoiser.model(x, t) - other.denoiser.model(x, t)).square().mean().item()

    with torch.inference_mode():
        assert distance(made, simulated) < 0.05 * distance(made, plain)


def test_float_weights_are_refused():
    assert "weights stay in float" in BiasCorrection().refuses(Scheme.parse("w16a8"))
    assert BiasCorrection().refuses(Scheme.parse("w4a16")) is None
    reason = "method bias: the weights stay in float, so rounding leaves no error to correct"
    assert Simulated().refuses(Scheme.parse("w16a8+bias"), None) == reason


def test_equal_arguments_give_equal_bits(toy, toy_batches):
    make = functools.partial(quantized, toy, Scheme.parse("w3a5+bias"), toy_batches)
    first, second = make(), make()
    assert all(
        torch.equal(tensor, dict(second.named_buffers())[name])
        for name, tensor in first.named_buffers()
    )


def test_what_rounds_anew_after_it_is_refused_by_name():
    assert "name gptq before bias" in refusal(Scheme.parse("w4a8+bias+gptq"))
    assert "name g32 before bias" in refusal(Scheme.parse("w4a8+bias+g32"))
    # Fine-tuning begins at the bias that there is.
    assert refusal(Scheme.parse("w4a8+mse+bias+finetune+tgroups=4")) is None
