"""Ranges at a percentile against numbers that are known, and the same in every execution."""

import pytest
import torch
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay

from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.quant.graph import layers_of, quantize_graph
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.percentile import affine, quantile
from bench.quant.methods.rounded import rounded_layers
from bench.quant.weight_rows import constants
from bench.system.host import instruction_set


def ranges(graph):
    """Step, zero point, and least and largest code of each layer's input."""
    nodes = {node.name: node for node in graph.graph.nodes}
    return {
        layer.name: nodes[layer.node].args[0].args[1:5]
        for layer in layers_of(graph)
        if layer.act_bits <= 8
    }


def test_a_quantile_is_that_of_torch():
    values = torch.randn(1001, dtype=torch.float64)
    for share in (0.0, 0.001, 0.3337, 0.9999, 1.0):
        assert quantile(values, share) == pytest.approx(torch.quantile(values, share).item())


def test_a_range_holds_zero_and_is_divided_by_its_levels():
    assert affine(-1.0, 4.1, 8) == (pytest.approx(0.02), 50)
    assert affine(2.0, 5.1, 8) == (pytest.approx(0.02), 0)
    assert affine(-3.0, -1.0, 4) == (pytest.approx(0.2), 15)
    scale, zero = affine(0.0, 0.0, 8)
    assert scale > 0 and zero == 0


def test_layers_that_share_an_input_share_its_range(tiny, tiny_graph, batches):
    """As queries, keys and values do: one range rounds their input, so the same must read it."""
    scheme = Scheme.parse("w4a8+percentile")
    graph = applied(tiny_graph("w4a8"), tiny, scheme, batches)
    found = ranges(graph)
    for name in (name for name in found if name.endswith("to_q")):
        stem = name.removesuffix("q")
        assert found[name] == found[f"{stem}k"] == found[f"{stem}v"]
    nodes = {node.name: node for node in graph.graph.nodes}
    for layer in layers_of(graph):
        if layer.act_bits <= 8:
            read = nodes[layer.node].args[0]
            assert read.args[0].args[1:] == read.args[1:]
    assert any(name.endswith("to_q") for name in found)


def test_activations_are_clipped_where_the_inputs_say(toy, toy_batches):
    """The first layer sees x itself: its percentiles are those of all inputs of the network."""
    plain = quantize_graph(toy, Scheme.parse("w4a8"), toy_batches)
    scheme = Scheme.parse("w4a8+percentile=activations:90")
    graph = applied(plain, toy, scheme, toy_batches)
    x = torch.cat([x for x, _ in toy_batches]).double()
    low, high = torch.quantile(x, 0.1).item(), torch.quantile(x, 0.9).item()
    scale, zero, *codes = ranges(graph)["first"]
    assert scale == pytest.approx((high - low) / 255)
    assert zero == round(-low / scale) and codes == [0, 255]
    # ReLU gives no less than 0.
    assert ranges(graph)["last"][1] == 0
    assert all(
        ranges(graph)[name][0] < old[0] for name, old in ranges(plain).items() if name != "time"
    )
    weights = zip(rounded_layers(plain), rounded_layers(graph), strict=True)
    for old, new in weights:
        assert torch.equal(constants(plain, old.node)[1], constants(graph, new.node)[1])


def test_weights_are_clipped_at_a_percentile_of_their_magnitudes(toy, toy_batches):
    plain = quantize_graph(toy, Scheme.parse("w4a8"), toy_batches)
    scheme = Scheme.parse("w4a8+percentile=weights:80,activations:100")
    graph = applied(plain, toy, scheme, toy_batches)
    for each in rounded_layers(graph):
        largest = torch.quantile(each.weight.abs().flatten(1), 0.8, dim=1)
        half = (2**each.layer.weight_bits - 1) / 2
        assert torch.allclose(constants(graph, each.node)[1], largest / half)
    assert ranges(graph) == ranges(plain)


def test_integer_kernels_run_the_same_graph(toy, toy_batches, tmp_path):
    """Also out of the file that keeps it, and with weights rounded after it."""
    assert_one_graph(
        "w4a8+percentile=activations:99,weights:95+gptq+bias", toy, toy_batches, tmp_path / "place"
    )


@pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)
def test_kernels_of_this_machine_agree_with_the_simulation(toy, toy_batches):
    assert_kernels_agree("w4a8+percentile", toy, toy_batches)


def test_inputs_that_are_not_finite_are_an_error(toy, toy_batches):
    graph = quantize_graph(toy, Scheme.parse("w4a8"), toy_batches)
    broken = Replay([(toy_batches[0][0] * torch.nan, toy_batches[0][1])])
    with pytest.raises(RuntimeError, match="inputs of layer first are not finite"):
        applied(graph, toy, Scheme.parse("w4a8+percentile"), broken)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("w4a16+percentile", "the activations stay in float"),
        ("w16a8+percentile=weights:99", "the weights stay in float"),
        ("w4a8+mse+percentile=weights:99", "mse chooses the ranges of the same weights"),
        ("w4a8+gptq+percentile", "method gptq: percentile changes ranges after it"),
        ("w4a8+mse+percentile+gptq", None),
        ("w16a8+percentile", None),
        ("w4a16+percentile=weights:99", None),
    ],
)
def test_what_has_nothing_to_do_is_refused(words, reason):
    said = refusal(Scheme.parse(words))
    assert said is None if reason is None else reason in said


def test_a_bad_option_is_one_line():
    with pytest.raises(InputError, match="changes no range"):
        refusal(Scheme.parse("w4a8+percentile=activations:100"))
    with pytest.raises(InputError, match="weights:20 must be a number from 50 to 100"):
        refusal(Scheme.parse("w4a8+percentile=weights:20"))
