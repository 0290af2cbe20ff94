import pytest
import torch
from helpers.toys import noisy
from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.graph import layers_of, quantize_graph
from bench.quant.kernels.integer_layer import IntegerLayer, Kernel, Reference
from bench.quant.kernels.lowering import kernels_of, lower, quantize, quantize_by_tensors
from bench.quant.rewrite import executed
from bench.quant.simulate import simulate


def sqnr(test, reference):
    noise = (test - reference).double().square().sum()
    return (10 * torch.log10(reference.double().square().sum() / noise)).item()


@pytest.mark.parametrize("high", [255, 127, 15, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_codes_are_those_of_the_simulation(high, layout):
    x = torch.randn(3, 5, 4, 4).mul(2).contiguous(memory_format=layout)
    # Ties, and values beyond both ends.
    x[0, 0, 0] = torch.tensor([0.15, 0.25, 0.05, -9.0])
    x[1, 0, 0, 0] = 1e6
    scale, zero = 0.1, high // 3
    codes = quantize(x, scale, zero, high)
    assert codes.dtype == torch.uint8 and codes.is_contiguous(memory_format=layout)
    expected = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, high)
    assert torch.equal((codes.to(torch.int32) - zero) * torch.tensor(scale), expected)


@pytest.mark.parametrize("scale", [0.1, 0.0078431377, 3e-5])
def test_codes_of_a_range_that_is_given_as_tensors(scale):
    """As where it switches: the same bits, also as a device makes them."""
    x, step, zero = torch.randn(4, 5, 6), torch.tensor(scale), torch.tensor(31, dtype=torch.int32)
    expected = quantize(x, step.item(), 31, 255)
    assert torch.equal(quantize(x, step, zero, 255), expected)
    assert torch.equal(quantize_by_tensors(x, step, zero, 255), expected)


def test_codes_of_a_tensor_that_is_not_contiguous():
    x = torch.randn(4, 6, 5, 5)[:, ::2, 1:, :]
    assert torch.equal(quantize(x, 0.1, 9, 255), quantize(x.contiguous(), 0.1, 9, 255))


def test_reference_by_hand():
    weight = torch.tensor([[1, -2], [3, 4]], dtype=torch.int8)
    bias = torch.tensor([0.5, 0.0])
    layer = IntegerLayer("a", (1, 2), weight, torch.tensor([1.0, 0.5]), 0.25, 10, 255, bias)
    # (12 - 10) - 2 (7 - 10) = 8, times 0.25, plus 0.5; 3 * 2 + 4 * -3 = -6, times 0.125.
    y = Reference(layer)(torch.tensor([[12, 7]], dtype=torch.uint8))
    assert y.tolist() == [[2.5, -0.75]]
    # With 7 as z and twice the scale: (12 - 7) - 2 (7 - 7) = 5 and 3 * 5 + 4 * 0 = 15.
    given = torch.tensor(0.5), torch.tensor(7, dtype=torch.int32)
    y = Reference(layer)(torch.tensor([[12, 7]], dtype=torch.uint8), *given)
    assert y.tolist() == [[3.0, 3.75]]


@pytest.mark.parametrize("words", ["w8a8", "w4a8", "w3a3+all", "w5a6"])
def test_reference_agrees_with_the_simulation(toy, toy_batches, words):
    graph = quantize_graph(toy, Scheme.parse(words), toy_batches)
    integer, simulation = lower(graph, Reference), simulate(graph)
    with torch.no_grad():
        for x, t in toy_batches:
            # A code that falls the other way is a whole step; without one they are 100 dB apart.
            assert sqnr(integer(x, t), simulation(x, t)) > 40
            assert sqnr(integer(x, t), graph(x, t)) > 40


def test_every_layer_is_replaced(tiny_graph):
    graph = tiny_graph("w4a8+minmax")
    integer = lower(graph, Reference)
    quantized = [layer for layer in layers_of(graph) if layer.quantized]
    kernels = kernels_of(integer)
    assert set(kernels) == {layer.node for layer in quantized}
    assert len(quantized) == 51
    operators = executed(integer)
    assert {operators[layer.node] for layer in quantized} == {"int64"}
    products = [layer for layer in layers_of(graph) if not layer.quantized]
    assert {operators[layer.node] for layer in products} == {"aten.scaled_dot_product_attention"}
    called = [str(node.target) for node in integer.graph.graph.nodes]
    assert not [name for name in called if "conv2d" in name and "layer_" not in name]
    assert not [name for name in called if "dequantize" in name]
    # q, k and v of four attentions share one input (51 - 8), the eight time embeddings another.
    assert sum("quantize" in name for name in called) == 51 - 8 - 7


def test_skipped_layers_stay_in_float(toy, toy_batches):
    graph = quantize_graph(toy, Scheme.parse("w8a8+skip=mix"), toy_batches)
    operators = executed(lower(graph, Reference))
    names = {layer.name: operators[layer.node] for layer in layers_of(graph)}
    assert names["mix"] == "aten.conv2d" and names["first"] == names["time"] == "int64"


@pytest.mark.parametrize("words, operand", [("w4a16", "float input"), ("w16a8", "float weights")])
def test_a_float_operand_is_refused_by_name(toy, toy_batches, words, operand):
    graph = quantize_graph(toy, Scheme.parse(words), toy_batches)
    with pytest.raises(RuntimeError, match=f"layer (first|time|mix|last) has a? ?{operand}"):
        lower(graph, Reference)


class Convolution(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.only = nn.Conv2d(4, 8, **options)

    def forward(self, x, t):
        return self.only(x)


LEVELS = NoiseLevels.discrete(alpha_bar("cosine"))


def network(**options):
    torch.manual_seed(0)
    return Denoiser(Convolution(**options).eval(), LEVELS, "epsilon", (4, 7, 6))


GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": (1, 5), "padding": "same", "bias": False},
    {"kernel_size": 2, "padding": "valid", "stride": 2},
    {"kernel_size": 3, "padding": (2, 0), "stride": (1, 2), "groups": 2},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 1},
]


@pytest.mark.parametrize("options", GEOMETRIES)
def test_geometries(options):
    denoiser, batches = network(**options), noisy((4, 7, 6))
    graph = quantize_graph(denoiser, Scheme.parse("w8a8"), batches)
    integer, simulation = lower(graph, Reference), simulate(graph)
    for x, t in batches:
        assert sqnr(integer(x, t), simulation(x, t)) > 100


def test_uneven_padding_is_refused_by_name():
    denoiser, batches = network(kernel_size=2, padding="same"), noisy((4, 7, 6))
    graph = quantize_graph(denoiser, Scheme.parse("w8a8"), batches)
    with pytest.raises(RuntimeError, match="layer only pads unevenly"):
        lower(graph, Reference)


@pytest.mark.parametrize("channels, copied", [(4, True), (8, False)])
def test_narrow_groups_are_normalized_in_the_layout_that_is_fast(channels, copied):
    layers = nn.Conv2d(4, channels, 1), nn.GroupNorm(4, channels), nn.Conv2d(channels, 4, 1)

    class Normalized(nn.Sequential):
        def forward(self, x, t):
            return super().forward(x)

    torch.manual_seed(0)
    denoiser = Denoiser(Normalized(*layers).eval(), LEVELS, "epsilon", (4, 7, 6))
    graph = quantize_graph(denoiser, Scheme.parse("w8a8"), noisy((4, 7, 6)))
    integer = lower(graph, Reference)
    (norm,) = [n for n in integer.graph.graph.nodes if "group_norm" in str(n.target)]
    assert ("contiguous" in str(norm.args[0].target)) == copied
    x, t = noisy((4, 7, 6))[0]
    assert sqnr(integer(x, t), simulate(graph)(x, t)) > 40


def test_nothing_in_integers_is_an_error(toy, toy_batches):
    graph = quantize_graph(toy, Scheme(16, 16), toy_batches)
    with pytest.raises(RuntimeError, match="no layer in integers"):
        lower(graph, Reference)


def test_kernels_know_their_layer(toy, toy_batches):
    graph = quantize_graph(toy, Scheme.parse("w4a8"), toy_batches)
    kernels = kernels_of(lower(graph, Reference)).values()
    assert all(isinstance(kernel, Kernel) for kernel in kernels)
    by_name = {kernel.layer.name: kernel.layer for kernel in kernels}
    assert by_name["first"].weight.abs().max() > 8 >= by_name["mix"].weight.abs().max()
    assert by_name["mix"].weight.shape == (12, 4, 1, 1) and not by_name["time"].is_convolution
    assert by_name["first"].padding == (1, 1)
