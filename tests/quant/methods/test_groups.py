"""Steps of groups of input channels and affine weights: errors, refusals, and exact kernels."""

import pytest
import torch
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay
from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.backends.simulated import Simulated
from bench.quant.graph import inputs_of, layers_of, quantize_graph, step_bytes
from bench.quant.kernels import agreement
from bench.quant.kernels.cublas import Product
from bench.quant.kernels.integer_layer import Sum
from bench.quant.kernels.lowering import kernels_of, lower
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.rounded import affine_rows, grid_of, rounded_layers, rows_of
from bench.quant.simulate import simulate
from bench.quant.stored import quantized
from bench.quant.weight_rows import constants, dequantized
from bench.system.host import instruction_set
from bench.system.random import seeded

X86 = instruction_set().startswith(("avx", "amx"))


class Wide(nn.Module):
    """Convolutions and a linear layer of 2, 64 and 128 channels, some in groups."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 64, 3, padding=1)
        self.inner = nn.Conv2d(64, 128, 2, stride=2)
        self.grouped = nn.Conv2d(128, 8, 3, padding=1, groups=2)
        self.across = nn.Linear(64, 64)
        self.last = nn.Conv2d(64, 2, 1, bias=False)

    def forward(self, x, t):
        h = self.first(x)
        h = h + self.across(h.mean((2, 3)))[:, :, None, None]
        y = self.grouped(self.inner(h).relu())
        return self.last(h) + y.mean(1, keepdim=True).repeat_interleave(2, 2).repeat_interleave(
            2, 3
        )


@pytest.fixture(scope="module")
def wide():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Wide().eval()
        # What shares a step should not be alike.
        model.inner.weight.data *= torch.logspace(-1, 1, 64)[:, None, None]
        model.across.weight.data += 0.1
    levels = NoiseLevels.discrete(alpha_bar("cosine"))
    generator = seeded("wide")
    pairs = Replay()
    for k in range(3):
        x = torch.randn(2, 2, 4, 6, generator=generator)
        pairs.append((x, torch.tensor([k, k + 400])))
    return Denoiser(model, levels, "epsilon", (2, 4, 6)), pairs


def errors(graph):
    return {
        each.layer.name: (dequantized(graph, each.node) - each.weight).square().sum().item()
        for each in rounded_layers(graph)
    }


def test_each_group_is_rounded_by_the_range_of_its_own_weights(wide):
    network, pairs = wide
    scheme = Scheme.parse("w4a8+g32")
    graph = applied(quantize_graph(network, scheme, pairs), network, scheme, pairs)
    layers = {each.layer.name: each for each in rounded_layers(graph)}
    assert list(layers) == ["first", "across", "inner", "grouped", "last"]
    inner, weight = layers["inner"], network.model.inner.weight.detach()
    codes, steps, zeros = constants(graph, inner.node)
    assert codes.shape == (256, 32, 2, 2) and not zeros.any()
    # The second row is the second half of the first output channel.
    half = weight[0, 32:]
    assert steps[1].item() == pytest.approx(half.abs().max().item() / 7.5)
    assert torch.equal(codes[1], (half / steps[1]).round().clamp(-8, 7).to(torch.int8))
    assert torch.equal(rows_of(graph, inner)[1], half.flatten())
    assert torch.allclose(
        dequantized(graph, inner.node)[0, 32:], codes[1].float() * steps[1], atol=0, rtol=1e-6
    )
    # Two groups of 32 of the 64 that a group of the convolution has; 64 of the linear layer.
    assert [len(constants(graph, layers[name].node)[1]) for name in layers] == [
        64,
        128,
        256,
        16,
        4,
    ]
    plain = errors(quantize_graph(network, Scheme.parse("w4a8"), pairs))
    grouped = errors(graph)
    # A layer of no more input channels than a group has stays as it is.
    assert grouped["first"] == plain["first"]
    assert grouped["inner"] < 0.7 * plain["inner"]


def test_a_grid_says_what_each_weight_may_become(wide):
    network, pairs = wide
    scheme = Scheme.parse("w4a8+g32+asymmetric")
    graph = applied(quantize_graph(network, scheme, pairs), network, scheme, pairs)
    for each in rounded_layers(graph):
        grid, weight = grid_of(graph, each), each.weight.flatten(1)
        numbers = grid.nearest(weight)
        rounded = dequantized(graph, each.node).flatten(1)
        assert torch.allclose(numbers * grid.steps, rounded, atol=1e-7)
        # No neighbour on the grid is nearer.
        for step in (-1, 1):
            other = grid.within(numbers + step) * grid.steps
            assert ((rounded - weight).abs() <= (other - weight).abs() + 1e-6).all()


def test_affine_rows_reach_from_the_least_to_the_largest_weight():
    rows = torch.tensor([[-1.0, 0.5, 2.0], [0.5, 1.0, 1.5], [-3.0, -1.5, -0.1], [0.0, 0.0, 0.0]])
    steps, zeros = affine_rows(rows, 4)
    assert steps[:3].tolist() == pytest.approx([3 / 15, 1.5 / 15, 3 / 15])
    assert zeros.tolist() == [-3, -8, 7, -8] and steps[3] > 0


def test_affine_weights_of_one_sign_use_all_codes(wide):
    network, pairs = wide
    scheme = Scheme.parse("w4a8+asymmetric+all")
    graph = applied(quantize_graph(network, scheme, pairs), network, scheme, pairs)
    codes, _, zeros = constants(graph, rounded_layers(graph)[1].node)
    assert (codes.min(), codes.max()) == (-8, 7) and zeros.any()
    plain = errors(quantize_graph(network, Scheme.parse("w4a8+all"), pairs))
    assert errors(graph)["across"] < 0.8 * plain["across"]


WORDS = (
    "w4a8+g32",
    "w4a8+asymmetric+all",
    "w8a8+g64+asymmetric",
    "w3a6+g32+asymmetric+mse+gptq+bias",
)


@pytest.mark.parametrize("words", WORDS)
def test_integer_kernels_run_the_same_graph(wide, words, tmp_path):
    network, pairs = wide
    graph, _ = assert_one_graph(words, network, pairs, tmp_path / "place")
    # As a GPU multiplies them. Up to 7 bits codes less their zero points fit 8.
    lowered = lower(graph, Product)
    assert agreement.measure(lowered, simulate(graph), inputs_of(graph)).worst_sqnr > 90
    sums = [isinstance(kernel, Sum) for kernel in kernels_of(lowered).values()]
    assert any(sums) == (words != "w4a8+asymmetric+all")


@pytest.mark.skipif(not X86, reason="needs the int8 kernels of an x86 CPU")
@pytest.mark.parametrize("words", [WORDS[2], WORDS[3], "w4a8+g32+adaround=iterations:20"])
def test_kernels_of_this_machine_agree(wide, words):
    network, pairs = wide
    made = assert_kernels_agree(words, network, pairs)
    assert any("2 times" in operator for operator in made.coverage.macs_by_kernel)


def test_zero_points_beyond_eight_bits_are_taken_off_in_parts(wide):
    """Weights of one sign at 8 bits: codes less their zero point reach 255."""
    network, pairs = wide
    graph = quantized(network, Scheme.parse("w8a8+asymmetric"), pairs)
    kernel = next(
        kernel
        for kernel in kernels_of(lower(graph, Product)).values()
        if kernel.layer.name == "across"
    )
    assert isinstance(kernel, Sum) and len(kernel.kernels) >= 2
    total = sum(each.layer.weight.int() for each in kernel.kernels)
    codes, _, zeros = constants(graph, rounded_layers(graph)[1].node)
    assert torch.equal(total, codes.int() - zeros[:, None].int())


def test_steps_of_groups_and_zero_points_are_counted_in_the_size(wide):
    network, pairs = wide
    sizes = {
        words: Simulated()(network, Scheme.parse(words), pairs).coverage.bytes
        for words in ("w4a8", "w4a8+g32", "w4a8+asymmetric")
    }
    # Rows: of inner 128 -> 256, of grouped 8 -> 16, of across 64 -> 128, of last 2 -> 4.
    assert sizes["w4a8+g32"] - sizes["w4a8"] == 4 * (128 + 8 + 64 + 2)
    # A byte for each of the output channels.
    assert sizes["w4a8+asymmetric"] - sizes["w4a8"] == 64 + 128 + 8 + 64 + 2
    graph = quantized(network, Scheme.parse("w4a8+g32"), pairs)
    assert step_bytes(graph)["inner"] == 4 * 256
    assert sum(layer.weights for layer in layers_of(graph)) == sum(
        p.numel() for name, p in network.model.named_parameters() if name.endswith("weight")
    )


def test_groups_that_do_not_divide_are_refused_by_the_layer_s_name(wide):
    network, pairs = wide
    model = nn.Sequential()
    model.inner = nn.Linear(48, 2)
    whole = Uneven(model)
    other = Denoiser(whole, network.levels, "epsilon", (2, 4, 6))
    with pytest.raises(InputError, match=r"layer model.inner has 48 input channels, which groups"):
        quantized(other, Scheme.parse("w4a8+g32"), pairs)
    assert quantized(other, Scheme.parse("w4a8+g64"), pairs)


class Uneven(nn.Module):
    """One linear layer of 48 inputs."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, t):
        return self.model.inner(x.flatten(1))[:, :, None, None] + x


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("w16a8+g32", "the weights stay in float"),
        ("w16a8+asymmetric", "the weights stay in float"),
        ("w4a8+g32+g64", "g64 groups the same weights"),
        ("w4a8+mse+g32", "name g32 before mse"),
        ("w4a8+gptq+g32", "name g32 before gptq"),
        ("w4a8+asymmetric+g32", "name g32 before asymmetric"),
        ("w4a8+mse+asymmetric", "name asymmetric before mse"),
        ("w4a8+adaround+asymmetric", "name asymmetric before adaround"),
    ],
)
def test_contradictions_are_refused_by_name(words, reason):
    assert reason in refusal(Scheme.parse(words))


def test_what_goes_together_is_taken():
    for words in ("w4a8+g32+asymmetric+mse+gptq+bias", "w4a8+g64+asymmetric+adaround", *WORDS):
        assert refusal(Scheme.parse(words)) is None
