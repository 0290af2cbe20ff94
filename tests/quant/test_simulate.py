import copy
from dataclasses import replace

import pytest
import torch

from bench.core.scheme import Scheme
from bench.quant.graph import quantize_graph
from bench.quant.simulate import fake_quantized, simulate


def calls(module):
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def count(module, word):
    return sum(word in call for call in calls(module))


def sqnr(model, reference, batches):
    """Signal to quantization noise in dB."""
    with torch.inference_mode():
        expected = torch.cat([reference(x, t) for x, t in batches])
        noise = torch.cat([model(x, t) for x, t in batches]) - expected
    return 10 * torch.log10(expected.square().sum() / noise.square().sum()).item()


@pytest.mark.parametrize("high", [7, 15, 255])
def test_rounding_is_that_of_torch(high):
    """Also exactly between two codes, below the lowest and above the highest."""
    random = torch.Generator().manual_seed(high)
    for _ in range(50):
        scale = torch.rand((), generator=random) + 1e-4
        zero = torch.randint(0, high + 1, (), generator=random, dtype=torch.int32)
        ties = (torch.arange(-high, high + 1) + 0.5) * scale
        x = torch.cat([ties, torch.randn(300, generator=random) * high])
        expected = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, high)
        assert torch.equal(fake_quantized(x, scale, zero, 0, high), expected)
        numbers = (scale.item(), zero.item(), 0, high)
        assert torch.equal(fake_quantized(x, *numbers), expected)


def test_rounding_lets_gradients_through_between_its_ends():
    x = torch.tensor([-1.0, 0.4, 3.2, 9.0], requires_grad=True)
    rounded = fake_quantized(x, 1.0, 0, 0, 7)
    assert rounded.tolist() == [0, 0, 3, 7]
    rounded.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_what_is_not_a_number_stays_so():
    assert fake_quantized(torch.tensor([float("nan")]), 1.0, 0, 0, 7).isnan().all()


@pytest.mark.parametrize("words", ["w4a8", "w8a8+minmax", "w3a3+all+minmax", "w4a16"])
def test_simulation_keeps_every_bit(tiny_graph, batches, words):
    graph = tiny_graph(words)
    model = simulate(graph)
    with torch.inference_mode():
        for x, t in batches:
            assert torch.equal(model(x, t), graph(x, t))


@pytest.mark.parametrize("words", ["w8a8", "w4a16", "w2a4"])
def test_simulation_keeps_every_bit_with_operations_in_place(toy, toy_batches, words):
    graph = quantize_graph(toy, Scheme.parse(words), toy_batches)
    assert count(graph, "relu_") == 2
    model = simulate(graph)
    with torch.no_grad():
        for x, t in toy_batches:
            assert torch.equal(model(x, t), graph(x, t))


def test_nothing_needless_runs(tiny_graph):
    graph = tiny_graph("w4a8+minmax")
    fast = simulate(graph).graph
    for word in ("decomposed", "dropout", "div", "assert", "ones", "exp", "arange"):
        assert count(fast, word) == 0, word
    assert count(fast, "conv2d") + count(fast, "linear") == 51
    # q, k and v of four attentions share one (51 - 8), the eight time embeddings another (- 7).
    assert count(fast, "fake_quantize") == 51 - 8 - 7
    assert count(fast, "silu") == count(graph, "silu") - 7


def test_upsampling_follows_rounding(tiny_graph):
    fast = simulate(tiny_graph("w4a8+minmax")).graph
    (up,) = (node for node in fast.graph.nodes if "upsample" in str(node.target))
    assert "fake_quantize" in str(up.args[0].target)


def test_activations_take_at_most_their_levels(tiny_graph, batches):
    fast = simulate(tiny_graph("w3a3+all+minmax")).graph
    seen = []

    class Watch(torch.fx.Interpreter):
        def call_function(self, target, args, kwargs):
            value = super().call_function(target, args, kwargs)
            if "fake_quantize" in str(target):
                seen.append(len(value.unique()))
            return value

    Watch(fast).run(*batches[0])
    assert len(seen) == 36
    assert 4 < max(seen) <= 8


def test_nothing_quantized_equals_float(tiny, batches):
    """But for the order of sums: to the bit on an AMD CPU with AVX2, not on an Intel one."""
    model = simulate(quantize_graph(tiny, Scheme(16, 16), batches))
    with torch.inference_mode():
        for x, t in batches:
            torch.testing.assert_close(model(x, t), tiny.model(x, t), rtol=0, atol=1e-6)


def test_weights_on_the_grid_stay_as_they_are(toy, toy_batches):
    model = copy.deepcopy(toy.model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight"):
                # Scale 1 of 8 bits: the largest magnitude is 127.5, which is clamped to 127.
                weight.copy_(weight.mul(200).round().clamp(-100, 100))
                weight.flatten(1)[:, 0] = 127.5
    graph = quantize_graph(replace(toy, model=model), Scheme.parse("w8a16"), toy_batches)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight"):
                weight.flatten(1)[:, 0] = 127
        for x, t in toy_batches:
            assert torch.equal(simulate(graph)(x, t), model(x, t))


def test_order_of_schemes(tiny, tiny_graph, batches):
    quality = [
        sqnr(simulate(tiny_graph(f"{words}+minmax")), tiny.model, batches)
        for words in ("w8a8", "w6a6", "w4a8", "w3a8", "w2a8")
    ]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > 30
    assert quality[-1] < 10


def test_another_batch_size_is_refused(toy, toy_batches):
    model = simulate(quantize_graph(toy, Scheme.parse("w8a8"), toy_batches))
    x, t = toy_batches[0]
    with pytest.raises(ValueError, match="takes inputs of shapes"):
        model(x[:2], t[:2])
