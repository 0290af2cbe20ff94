"""Methods that change the graph in full precision: what it computes stays as it was, to 1e-5."""

import pytest
import torch
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay, noisy
from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.backends.simulated import Simulated
from bench.quant.graph import float_of, layers_of
from bench.quant.layers import exported
from bench.quant.methods import smooth
from bench.quant.methods.applying import prepared, refusal
from bench.quant.methods.float_graph import layers, name_of
from bench.quant.methods.low_rank import factors
from bench.quant.stored import quantized
from bench.system.host import instruction_set

X86 = instruction_set().startswith(("avx", "amx"))


class Linked(nn.Module):
    """A skip connection, an attention behind a normalization, and two layers with a rectifier."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.queries, self.keys, self.values = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 8)
        self.join = nn.Conv2d(16, 8, 1)
        self.up, self.rectified = nn.Conv2d(8, 40, 1), nn.Conv2d(40, 36, 1, bias=False)
        self.last = nn.Conv2d(36, 1, 3, padding=1)

    def forward(self, x, t):
        skip = self.first(x)
        tokens = self.norm(skip).flatten(2).transpose(1, 2)
        split = [
            layer(tokens).unflatten(2, (2, 4)).transpose(1, 2)
            for layer in (self.queries, self.keys, self.values)
        ]
        h = nn.functional.scaled_dot_product_attention(*split)
        h = self.out(h.transpose(1, 2).flatten(2)).transpose(1, 2).view(skip.shape)
        h = self.join(torch.cat([30 * h, skip], 1))
        return self.last(self.rectified(nn.functional.relu(self.up(h))))


@pytest.fixture(scope="module")
def linked():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Linked().eval()
        # Channels of different sizes, which methods even out.
        spread = torch.logspace(-1, 1, 8)
        model.norm.weight.data, model.norm.bias.data = spread.clone(), spread / 10
        model.values.weight.data *= spread.flip(0)[:, None]
        model.up.weight.data *= torch.logspace(-1.5, 1, 40)[:, None, None, None]
    levels = NoiseLevels.discrete(alpha_bar("cosine"))
    return Denoiser(model, levels, "epsilon", (1, 6, 6)), noisy((1, 6, 6))


WORDS = ("split", "equalize", "smooth", "smooth=alpha:0.7,convolutions:1", "lowrank=rank:2")


@pytest.mark.parametrize("words", [*WORDS, "equalize+smooth+split+lowrank=rank:3"])
def test_in_full_precision_nothing_changes(linked, words):
    network, pairs = linked
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    graph = prepared(network, Scheme.parse(f"w4a8+{words}"), pairs)
    plain = exported(network, pairs.shape[0])
    assert len(list(graph.graph.nodes)) != len(list(plain.graph.nodes)) or words == "equalize"
    with torch.no_grad():
        for x, t in pairs:
            y = network.model(x, t)
            assert (graph(x, t) - y).abs().max() <= 1e-5 * y.abs().max()
    assert all(torch.equal(before[name], v) for name, v in network.model.state_dict().items())


def test_equalized_channels_have_the_same_range_on_both_sides(linked):
    """And all of them were found: three behind the normalization, values and output, two with a
    rectifier between them, the layer behind, but nothing across the concatenation."""
    network, pairs = linked
    graph = prepared(network, Scheme.parse("w4a8+equalize"), pairs)
    model = network.model
    changed = {
        name
        for name, value in model.state_dict().items()
        if not torch.equal(graph.state_dict()[name], value)
    }
    assert changed == {
        *("norm.weight", "norm.bias", "queries.weight", "keys.weight"),
        *("values.weight", "values.bias", "out.weight", "join.weight", "join.bias"),
        *("up.weight", "up.bias", "rectified.weight", "last.weight"),
    }
    state = graph.state_dict()
    for first, second in (("values", "out"), ("rectified", "last")):
        rows = state[f"{first}.weight"].abs().flatten(1).amax(1)
        columns = state[f"{second}.weight"].abs().transpose(0, 1).flatten(1).amax(1)
        assert torch.allclose(rows, columns, rtol=1e-4)
    columns = torch.stack(
        [state[f"{name}.weight"].abs().amax(0) for name in ("queries", "keys", "values")]
    )
    assert columns.amax(0).max() / columns.amax(0).min() < 30


def test_each_part_of_a_concatenation_has_its_own_range(linked):
    network, pairs = linked
    graph = quantized(network, Scheme.parse("w4a8+split"), pairs)
    nodes = {node.name: node for node in graph.graph.nodes}
    steps = {
        layer.name: nodes[layer.node].args[0].args[1]
        for layer in layers_of(graph)
        if layer.name.startswith("join")
    }
    assert list(steps) == ["join.part1", "join.part2"]
    plain = quantized(network, Scheme.parse("w4a8"), pairs)
    (both,) = (
        node.args[0].args[1]
        for node in plain.graph.nodes
        if node.name in {layer.node for layer in layers_of(plain) if layer.name == "join"}
    )
    # The wider part has the range of both; the other one is finer.
    assert min(steps.values()) < both / 3
    assert max(steps.values()) == pytest.approx(both, rel=0.05)
    names = [layer.name for layer in layers_of(plain)]
    assert len(layers_of(graph)) == len(names) + 1


def test_a_skip_list_still_knows_a_layer_that_was_split(linked):
    network, pairs = linked
    graph = quantized(network, Scheme.parse("w4a8+split+skip=join"), pairs)
    assert [x.bits for x in layers_of(graph) if x.name.startswith("join")] == ["fp32"] * 2


def test_smoothing_shares_the_maxima_of_activations_and_weights(linked):
    """With alpha 0.5, both have the maximum sqrt(max|x| max|W|) afterwards, channel by channel."""
    network, pairs = linked
    graph = prepared(network, Scheme.parse("w4a8+smooth"), pairs)
    inputs = {name_of(node): node.args[0] for node in layers(graph)}
    wanted = inputs["out"], inputs["queries"]
    assert inputs["queries"] is inputs["keys"] is inputs["values"]
    largest = smooth._Largest(graph, dict.fromkeys(wanted, -1))
    with torch.no_grad():
        pairs(largest.run)
    state = graph.state_dict()
    out = state["out.weight"].abs().amax(0)
    assert torch.allclose(largest.values[inputs["out"]], out, rtol=1e-4)
    shared = torch.stack([state[f"{n}.weight"] for n in ("queries", "keys", "values")])
    assert torch.allclose(largest.values[inputs["queries"]], shared.abs().amax((0, 1)), rtol=1e-4)


def test_the_factors_are_the_best_of_their_rank():
    """The error is the sum of the squares of the singular values that are left out."""
    matrix = torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
    up, down = factors(matrix, 3)
    assert up.shape == (12, 3) and down.shape == (3, 30)
    left = torch.linalg.svdvals(matrix.double())[3:].square().sum()
    assert (matrix - up @ down).square().sum().item() == pytest.approx(left.item(), rel=1e-5)


def test_a_branch_is_in_float_and_counted(linked):
    network, pairs = linked
    plain, branched = (
        Simulated()(network, Scheme.parse(words), pairs).coverage
        for words in ("w4a8", "w4a8+lowrank=rank:3")
    )
    reasons = dict(branched.skipped)
    # All but the last layer, which has one row.
    assert {name for name, reason in reasons.items() if reason == "low-rank branch"} == {
        f"{name}.{way}"
        for name in ("first", "queries", "keys", "values", "out", "join", "up", "rectified")
        for way in ("down", "up")
    }
    added = 3 * (9 + 8) + 4 * 3 * 16 + 3 * (16 + 8) + 3 * (8 + 40) + 3 * (40 + 36)
    assert branched.params - plain.params == added
    assert branched.bytes - plain.bytes == 4 * added
    assert branched.macs > plain.macs and branched.macs_quantized == plain.macs_quantized


@pytest.mark.parametrize("words", [f"w4a8+{words}" for words in WORDS])
def test_integer_kernels_run_the_same_graph(linked, words, tmp_path):
    network, pairs = linked
    assert_one_graph(words, network, pairs, tmp_path / "place")


@pytest.mark.skipif(not X86, reason="needs the int8 kernels of an x86 CPU")
def test_kernels_of_this_machine_agree_with_all_of_them(linked):
    network, pairs = linked
    assert_kernels_agree("w4a8+equalize+smooth+split+lowrank=rank:3+gptq+bias", network, pairs)


def test_scales_are_measured_once(linked, tmp_path):
    network, pairs = linked
    kept = Counted(pairs)
    kept.place = tmp_path / "place"
    first, second = (quantized(network, Scheme.parse("w4a8+smooth"), kept) for _ in range(2))
    # For the scales and for the ranges, and nothing more for the second.
    assert kept.runs == 2
    assert all(map(torch.equal, float_of(first).buffers(), float_of(second).buffers()))


class Counted(Replay):
    """A calibration that counts how often it runs."""

    runs = 0

    def __call__(self, model):
        self.runs += 1
        return super().__call__(model)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("w4a16+split", "the activations stay in float"),
        ("w16a8+equalize", "the weights stay in float"),
        ("w16a8+smooth", "weights or activations stay in float"),
        ("w16a8+lowrank", "the weights stay in float"),
    ],
)
def test_what_has_nothing_to_do_is_refused(words, reason):
    assert reason in refusal(Scheme.parse(words))


class Bare(nn.Module):
    """One convolution."""

    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t):
        return self.only(x).sigmoid()


@pytest.mark.parametrize("word", ["split", "equalize", "smooth", "lowrank"])
def test_a_network_that_has_no_place_for_it_is_refused_in_one_line(linked, word):
    network, pairs = linked
    bare = Denoiser(Bare().eval(), network.levels, "epsilon", (1, 6, 6))
    with pytest.raises(InputError, match=rf"^{word}: "):
        quantized(bare, Scheme.parse(f"w4a8+{word}"), pairs)


def test_inputs_that_are_not_finite_name_the_layer(linked):
    network, pairs = linked
    broken = Replay([(x * float("nan"), t) for x, t in pairs])
    with pytest.raises(RuntimeError, match="inputs of layer queries are not finite"):
        quantized(network, Scheme.parse("w4a8+smooth"), broken)
