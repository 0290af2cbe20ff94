import pytest
import torch

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.quant import graph as quant_graph
from bench.quant.graph import LayerQuantizer, input_bits, layers_of, quantize_graph
from bench.quant.layers import export, plan
from bench.quant.simulate import simulate


def quantized(denoiser, words, batches):
    return quantize_graph(denoiser, Scheme.parse(words), batches)


def executed_bits(graph):
    """{layer name: (weight bits, activation bits)} as the graph itself says."""
    nodes = {node.name: node for node in graph.graph.nodes}
    return {
        layer.name: tuple(input_bits(nodes[layer.node].args[k]) for k in (1, 0))
        for layer in layers_of(graph)
        if layer.weights
    }


def constants(graph):
    scalars = [
        (n.name, n.args[1:5])
        for n in graph.graph.nodes
        if str(n.target).endswith("tensor.default")
    ]
    return scalars, dict(graph.named_buffers())


def test_every_layer_has_its_bits_and_edges_have_eight(tiny_graph):
    bits = executed_bits(tiny_graph("w4a6+minmax"))
    assert len(bits) == 51
    edges = {name for name, pair in bits.items() if pair == (8, 8)}
    assert edges == {"unet.conv_in", "unet.conv_out"}
    assert {pair for name, pair in bits.items() if name not in edges} == {(4, 6)}


def test_all_changes_the_edges(tiny_graph):
    assert set(executed_bits(tiny_graph("w3a3+all+minmax")).values()) == {(3, 3)}


def test_edges_are_found_by_execution_order(toy, toy_batches):
    bits = executed_bits(quantized(toy, "w3a5+minmax", toy_batches))
    assert bits == {"first": (8, 8), "time": (3, 5), "mix": (3, 5), "last": (8, 8)}


def test_weight_only_and_activation_only(toy, toy_batches):
    assert set(executed_bits(quantized(toy, "w4a16+all", toy_batches)).values()) == {(4, 32)}
    assert set(executed_bits(quantized(toy, "w16a8", toy_batches)).values()) == {(32, 8)}


def test_weights_take_at_most_their_levels(tiny_graph):
    graph = tiny_graph("w3a3+all+minmax")
    for node in graph.graph.nodes:
        if str(node.target).endswith("dequantize_per_channel.default"):
            weight = dict(graph.named_buffers())[node.args[0].target]
            low, high = node.args[4:6]
            assert weight.dtype == torch.int8
            assert low <= weight.min() and weight.max() <= high
            assert all(len(row.unique()) <= high - low + 1 for row in weight.flatten(1))
            # Symmetric: the largest magnitude of a channel is at the end of its range.
            assert (weight.flatten(1).int().abs().amax(1) >= high).all()


def test_skip_globs(tiny, batches):
    glob = "mid_block.*"
    graph = quantized(tiny, f"w4a8+minmax+skip={glob}", batches)
    for name, pair in executed_bits(graph).items():
        assert (pair == (32, 32)) == name.startswith("unet.mid_block."), name
    reasons = {layer.name: layer.reason for layer in layers_of(graph)}
    assert reasons["unet.mid_block.resnets.0.conv1"] == f"skip={glob}"
    exported = export(tiny.model, *batches[0])
    for same in ("unet.mid_block.*", "UNET.MID_BLOCK.*"):
        layers = plan(exported, Scheme(4, 8, skip=(same,)))
        assert [layer.act_bits for layer in layers] == [la.act_bits for la in layers_of(graph)]


def test_a_glob_that_matches_nothing_is_an_error(toy, toy_batches):
    with pytest.raises(InputError, match="skip=nowhere matches no layer"):
        quantized(toy, "w4a8+skip=nowhere", toy_batches)


def test_nothing_left_is_an_error(toy, toy_batches):
    with pytest.raises(InputError, match="every layer of this network in float"):
        quantized(toy, "w4a8+skip=*", toy_batches)


def test_a_quantizer_that_does_nothing_is_an_error(toy, toy_batches, monkeypatch):
    monkeypatch.setattr(LayerQuantizer, "annotate", lambda self, model: model)
    with pytest.raises(RuntimeError, match=r"layer first should run at w8a8.* made it w32a32"):
        quantized(toy, "w4a8", toy_batches)


def test_one_forgotten_layer_is_an_error(toy, toy_batches, monkeypatch):
    def forgets(layers, observer):
        return LayerQuantizer([layer for layer in layers if layer.name != "mix"], observer)

    monkeypatch.setattr(quant_graph, "LayerQuantizer", forgets)
    with pytest.raises(RuntimeError, match="layer mix should run at w4a8"):
        quantized(toy, "w4a8", toy_batches)


class Idle:
    """A calibration that forgets the network."""

    shape = (3, 1, 6, 6)

    def __call__(self, model):
        pass


def test_a_calibration_that_evaluates_nothing_is_an_error(toy):
    with pytest.raises(RuntimeError, match="did not evaluate"):
        quantized(toy, "w8a8", Idle())


def test_equal_arguments_give_equal_bits(toy, toy_batches):
    (scalars, tensors), (scalars_2, tensors_2) = (
        constants(quantized(toy, "w4a4", toy_batches)) for _ in range(2)
    )
    assert scalars == scalars_2
    assert len(scalars) >= 4
    assert tensors.keys() == tensors_2.keys()
    assert all(torch.equal(tensors[name], tensors_2[name]) for name in tensors)


def test_minmax_range_is_exact(toy, toy_batches):
    graph = quantized(toy, "w8a8+minmax", toy_batches)
    first = next(node for node in graph.graph.nodes if node.name == "conv2d")
    scale, zero = first.args[0].args[1:3]
    low = min(x.min().item() for x, _ in toy_batches)
    high = max(x.max().item() for x, _ in toy_batches)
    assert scale == pytest.approx((high - low) / 255)
    assert zero == round(-low / scale)


def test_control_flow_is_an_error():
    class Branches(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 1, 1)

        def forward(self, x, t):
            return torch.cond(t.sum() > 5, self.layer, torch.neg, (x,))

    with pytest.raises(RuntimeError, match="control flow"):
        export(Branches().eval(), torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))


def test_buffers_and_constants_are_no_control_flow(toy_batches):
    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 1, 1)
            self.register_buffer("shift", torch.ones(1))

        def forward(self, x, t):
            with torch.no_grad():
                return self.layer(x + self.shift) * torch.tensor([0.5, 1.0, 1.5]).view(3, 1, 1, 1)

    model = Shifted().eval()
    x, t = toy_batches[0]
    assert torch.equal(export(model, x, t)(x, t), model(x, t))
    fast = simulate(
        quantize_graph(
            Denoiser(model, NoiseLevels.discrete(torch.ones(1000)), "epsilon", (1, 6, 6)),
            Scheme(8, 8),
            toy_batches,
        )
    )
    assert torch.allclose(fast(x, t), model(x, t), atol=0.05)
