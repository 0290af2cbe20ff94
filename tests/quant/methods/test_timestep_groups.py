"""Ranges of groups of timesteps against known numbers, and the same in every execution."""

import dataclasses
import json

import pytest
import torch
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay
from torch import nn

from bench.core.denoiser import Denoiser, diffuse
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.graph import INPUTS, inputs_of, layers_of, quantize_graph, ranges_of
from bench.quant.kernels.cublas import Product
from bench.quant.kernels.integer_layer import Reference
from bench.quant.kernels.lowering import lower
from bench.quant.kernels.onednn import kernel
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.timestep_groups import set_ranges
from bench.quant.observers import range_observer
from bench.quant.simulate import simulate
from bench.quant.stopped import drawn
from bench.quant.switched import (
    Switch,
    boundaries,
    inputs_of_all_groups,
    level_input,
    switch_of,
)
from bench.system.host import instruction_set
from bench.system.random import seeded

X86 = instruction_set().startswith(("avx", "amx"))
LEVELS = NoiseLevels.discrete(alpha_bar("cosine"))
STEPS = (999, 749, 499, 249, 0)


def trajectories(shape=(1, 6, 6), steps=STEPS, size=3):
    """Evaluations of batches whose images share their level, as sampling makes them."""
    generator, signal = seeded("groups", *shape), alpha_bar("cosine")
    pairs = Replay()
    for step in steps:
        t = torch.full((size,), step)
        x_0, noise = (torch.randn(size, *shape, generator=generator) for _ in range(2))
        pairs.append((diffuse(x_0, noise, signal[t]), t))
    return pairs


def tables(graph):
    """Scales and zero points of each layer's input, (N, 2)."""
    nodes = {node.name: node for node in graph.graph.nodes}
    return {
        layer.name: ranges_of(graph, nodes[layer.node].args[0])
        for layer in layers_of(graph)
        if layer.act_bits <= 8
    }


class Growing(nn.Module):
    """A layer whose input is x times one and its level."""

    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(1, 1, 1)

    def forward(self, x, t):
        return self.only(x * (1 + t)[:, None, None, None])


def denoiser_of(model, shape=(1, 2, 2), **options):
    return Denoiser(model.eval(), LEVELS, "epsilon", shape, **options)


@pytest.fixture(scope="module")
def growing():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return denoiser_of(Growing())


def ramp(steps):
    """x from -1 to 2 at each step."""
    x = torch.tensor([-1.0, 0.0, 1.0, 2.0]).view(1, 1, 2, 2)
    return Replay([(x, torch.tensor([step])) for step in steps])


def test_ranges_grow_with_the_values_of_a_group(growing):
    """At level t the layer sees -(1 + t) to 2 (1 + t), and a group the most of that."""
    scheme = Scheme.parse("w8a8+minmax+tgroups=2")
    batches = ramp((9, 4, 1, 0))
    graph = applied(quantize_graph(growing, scheme, batches), growing, scheme, batches)
    scale, zero = tables(graph)["only"].T
    assert scale.tolist() == [pytest.approx(3 * 2 / 255), pytest.approx(3 * 10 / 255)]
    assert zero.tolist() == [85, 85]
    # Groups {0, 1} and {4, 9}: the second begins halfway between 1 and 4.
    assert switch_of(graph).boundaries.tolist() == [3]
    x = torch.full((1, 1, 2, 2), 1.0)
    weight, bias = (p.item() for p in growing.model.only.parameters())
    for t, step in ((0, 6 / 255), (2, 6 / 255), (3, 30 / 255), (999, 30 / 255)):
        value = (1 + t) / step
        seen = step * min(round(value), 170)
        with torch.no_grad():
            y = simulate(graph)(x, torch.tensor([t]))
        assert y.flatten()[0].item() == pytest.approx(seen * weight + bias, rel=1e-2)


def test_a_group_is_observed_alone(toy):
    """Each range is what the scheme's observer says of calls of the group's levels, in order."""
    batches = trajectories()
    scheme = Scheme.parse("w4a8+tgroups=2")
    graph = applied(quantize_graph(toy, scheme, batches), toy, scheme, batches)
    for group, steps in enumerate(((0, 249), (499, 749, 999))):
        of_group = Replay([(x, t) for x, t in batches if int(t[0]) in steps])
        plain = tables(quantize_graph(toy, dataclasses.replace(scheme, methods=()), of_group))
        assert plain.keys() == tables(graph).keys() == {"first", "time", "mix", "last"}
        for name, table in tables(graph).items():
            assert torch.equal(table[group], plain[name][0]), name
    first = range_observer("histogram", 8)
    for x, t in batches:
        if t[0] <= 249:
            first(x)
    scale, zero = first.calculate_qparams()
    assert tables(graph)["first"][0].tolist() == [scale.item(), zero.item()]


def test_a_range_always_holds_zero(growing):
    batches = Replay([(x.abs() + 1, t) for x, t in ramp((5, 2, 0))])
    scheme = Scheme.parse("w8a8+minmax+tgroups=3")
    graph = applied(quantize_graph(growing, scheme, batches), growing, scheme, batches)
    scale, zero = tables(graph)["only"].T
    assert zero.tolist() == [0, 0, 0]
    assert scale.tolist() == pytest.approx([3 / 255, 9 / 255, 18 / 255])


@pytest.mark.parametrize("words", ["w4a8+minmax", "w3a4+all+minmax"])
def test_groups_of_equal_ranges_are_the_plain_graph(toy, words):
    """To the bit, in simulation and in integers."""
    batches, scheme = trajectories(), Scheme.parse(words)
    plain, graph = (quantize_graph(toy, scheme, batches) for _ in range(2))
    ranges = tables(plain)
    layers = [layer for layer in layers_of(plain) if layer.name in ranges]
    equal = {layer.node: ranges[layer.name].repeat(3, 1) for layer in layers}
    set_ranges(graph, Switch(1, 0, torch.tensor([250, 700])), equal)
    executions = [
        lambda g: g,
        simulate,
        lambda g: lower(g, Reference),
        lambda g: lower(g, Product),
    ]
    if X86:
        executions.append(lambda g: lower(g, kernel))
    for execute in executions:
        first, second = execute(plain), execute(graph)
        with torch.no_grad():
            for x, t in batches[: len(STEPS)]:
                assert torch.equal(first(x, t), second(x, t))


class Shared(nn.Module):
    """Two layers on the same input, as q and k of an attention."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, x, t):
        grown = x * (1 + t)[:, None, None, None]
        return self.query(grown) * self.key(grown)


def test_layers_on_one_input_share_its_rounding():
    """As in the plain graph; the layers' integers are made once too."""
    network, batches = denoiser_of(Shared()), ramp((9, 0))
    scheme = Scheme.parse("w8a8+minmax+tgroups=2")
    graph = applied(quantize_graph(network, scheme, batches), network, scheme, batches)
    for execution, word in (
        (simulate(graph), "fake_quantize"),
        (lower(graph, Reference), "quantize"),
    ):
        nodes = execution.graph.graph.nodes
        assert sum(word in str(node.target) for node in nodes) == 1


@pytest.mark.parametrize(
    "words",
    [
        "w4a8+minmax+tgroups=4+bias",
        "w8a8+minmax+asymmetric+gptq+tgroups=4",
        "w4a4+all+minmax+tgroups=2+adaround=iterations:3",
    ],
)
def test_integer_kernels_run_the_same_graph(toy, tmp_path, words):
    """Also out of the file that keeps it, beside other methods in any order."""
    first, second = assert_one_graph(words, toy, trajectories(), tmp_path / "place")
    assert switch_of(first) is not None
    for name, table in tables(first).items():
        assert torch.equal(table, tables(second)[name])
    assert torch.equal(switch_of(first).boundaries, switch_of(second).boundaries)


@pytest.mark.skipif(not X86, reason="not an x86 CPU with AVX2")
@pytest.mark.parametrize("words", ["w4a8+minmax+tgroups=2", "w8a8+minmax+tgroups=5"])
def test_kernels_of_this_machine_agree_with_the_simulation(toy, words):
    assert_kernels_agree(words, toy, trajectories())


def test_kernels_are_held_against_the_simulation_in_every_group(toy):
    scheme, batches = Scheme.parse("w4a8+minmax+tgroups=5"), trajectories()
    graph = applied(quantize_graph(toy, scheme, batches), toy, scheme, batches)
    switch = switch_of(graph)
    assert {switch.group(each) for each in inputs_of_all_groups(graph)} == set(range(5))


def test_where_ranges_do_not_switch_kernels_are_held_against_images_of_all_levels_at_once(toy):
    batches = trajectories()
    graph = quantize_graph(toy, Scheme.parse("w4a8+minmax"), batches)
    inputs = inputs_of(graph)
    count = len({tuple(t.tolist()) for _, t in inputs})
    assert count == len(inputs) > 1
    ((x, t),) = inputs_of_all_groups(graph)
    for i in range(len(x)):
        assert torch.equal(x[i], inputs[i % count][0][i]) and t[i] == inputs[i % count][1][i]
    # A smaller batch has no room for an image of each level.
    graph.meta[INPUTS] = [tuple(tensor[: count - 1] for tensor in each) for each in inputs]
    assert len(inputs_of_all_groups(graph)) == count


def test_learned_rounding_draws_batches_of_one_group(toy):
    """All images of a batch are rounded by the range of the first."""
    batches, switch = trajectories(), Switch(1, 0, torch.tensor([250, 700]))
    some = drawn(toy.model, batches, 12, len(batches[0][0]), switch)
    assert [x.shape for x, _ in some] == [batches.shape] * 3
    groups = [{switch.group((x, t[None])) for t in ts} for x, ts in some]
    assert groups == [{0}, {1}, {2}]


def test_boundaries_part_levels_into_equal_groups():
    levels = torch.tensor([0, 10, 20, 31, 40, 50])
    assert boundaries(levels, 3).tolist() == [15, 36]
    assert boundaries(levels, 6).tolist() == [5, 15, 26, 36, 45]
    assert boundaries(levels, 4).tolist() == [5, 26, 36]
    assert boundaries(torch.tensor([1, 2]), 2).tolist() == [2]
    near = torch.tensor([1.0, 1.0]).nextafter(torch.tensor([1.0, 2.0]))
    assert boundaries(near, 2).tolist() == [near[1].item()]
    assert boundaries(torch.tensor([-2.0, -1.0, 3.0]), 3).tolist() == [-1.5, 1.0]


class Labelled(nn.Module):
    """A network that takes timestep and class as the code t + 1000 y."""

    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(1, 1, 1)

    def forward(self, x, code):
        t, y = code % 1000, code // 1000
        return self.only(x * (1 + t)[:, None, None, None]) + y[:, None, None, None]


def test_classes_do_not_change_the_group():
    labelled = denoiser_of(Labelled(), classes=10)
    assert level_input(labelled) == (1, 1000)
    x = ramp((0,))[0][0].repeat(2, 1, 1, 1)
    batches = Replay([(x, step + 1000 * torch.tensor([3, 7])) for step in (9, 4, 1, 0)])
    scheme = Scheme.parse("w8a8+minmax+tgroups=2")
    graph = applied(quantize_graph(labelled, scheme, batches), labelled, scheme, batches)
    assert tables(graph)["only"][:, 0].tolist() == pytest.approx([6 / 255, 30 / 255])
    assert switch_of(graph).modulus == 1000
    with torch.no_grad():
        y = simulate(graph)(x, 1 + 1000 * torch.tensor([9, 0]))
    assert torch.equal(y[0], y[1] + 9)
    assert {switch_of(graph).group(each) for each in inputs_of_all_groups(graph)} == {0, 1}


@dataclasses.dataclass
class Continuous(Denoiser):
    """Tells its network log(sigma) / 4."""

    def inputs(self, x, level, condition=None):
        return x, torch.full((len(x),), level.noise).log() / 4


def test_a_continuous_level_is_parted_by_its_value(tmp_path):
    model = Growing().eval()
    network = Continuous(model, NoiseLevels.sigmas(0.01, 50), "epsilon", (1, 2, 2))
    assert level_input(network) == (1, 0)
    x = ramp((0,))[0][0]
    batches = Replay([(x.clone(), torch.tensor([value])) for value in (1.0, 0.5, 0.0, -0.5)])
    first, _ = assert_one_graph("w8a8+minmax+tgroups=4", network, batches, tmp_path / "place")
    assert switch_of(first).boundaries.tolist() == [-0.25, 0.25, 0.75]
    assert tables(first)["only"][:, 0].tolist() == pytest.approx(
        [1.5 / 255, 3 / 255, 4.5 / 255, 6 / 255]
    )
    assert {switch_of(first).group(each) for each in inputs_of_all_groups(first)} == {0, 1, 2, 3}


@dataclasses.dataclass
class Twice(Denoiser):
    """Tells its network the level by two inputs."""

    def inputs(self, x, level, condition=None):
        return *super().inputs(x, level), torch.full((len(x),), level.noise)


def test_a_level_that_cannot_be_read_is_refused_in_a_line():
    with pytest.raises(InputError, match="2 of its inputs tell it, and it needs one"):
        level_input(Twice(Growing(), LEVELS, "epsilon", (1, 2, 2)))


def test_images_of_a_batch_at_different_levels_are_an_error(toy, toy_batches):
    scheme = Scheme.parse("w4a8+minmax+tgroups=2")
    graph = quantize_graph(toy, scheme, toy_batches)
    with pytest.raises(RuntimeError, match="images of one batch are at different timesteps"):
        applied(graph, toy, scheme, toy_batches)


def test_more_groups_than_levels_are_refused(toy):
    scheme, batches = Scheme.parse("w4a8+minmax+tgroups=6"), trajectories()
    with pytest.raises(InputError, match=r"sampling meets 5 noise levels.*at most 5 groups"):
        applied(quantize_graph(toy, scheme, batches), toy, scheme, batches)


def test_inputs_that_are_not_finite_are_an_error(toy):
    scheme, batches = Scheme.parse("w4a8+minmax+tgroups=2"), trajectories()
    graph = quantize_graph(toy, scheme, batches)
    broken = Replay([(x * torch.nan if t[0] == 499 else x, t) for x, t in batches])
    with pytest.raises(RuntimeError, match="inputs of layer first are not finite"):
        applied(graph, toy, scheme, broken)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("w4a16+tgroups=4", "method tgroups: the activations stay in float"),
        ("w4a8+tgroups=4+percentile", "percentile chooses the ranges of the same activations"),
        ("w4a8+percentile=activations:99+tgroups=4", "percentile chooses the ranges"),
        ("w4a8+percentile=activations:100,weights:99+tgroups=4", None),
        ("w16a8+tgroups=4", None),
    ],
)
def test_what_has_nothing_to_do_is_refused(words, reason):
    said = refusal(Scheme.parse(words))
    assert said is None if reason is None else reason in said


@pytest.mark.parametrize("number", ["=1", "=0", "=x", "=-2", "=2.5", "=1001", ""])
def test_a_bad_number_of_groups_is_one_line(number):
    with pytest.raises(InputError, match="tgroups=8 takes a number of groups, 2 to 1000"):
        refusal(Scheme.parse(f"w4a8+tgroups{number}"))


SIZES = ("--images", "4", "--batch", "4", "--steps", "2", "--metrics", "psnr", "--floor", "none")


def test_from_the_command_line_to_the_report(bench, cards, tmp_path):
    backends = ("--backend", "simulated", *(("--backend", "int8-x86:compiled") * X86))
    words = ("run", "--cards", cards, *SIZES, "--out", tmp_path / "out", *backends)
    code, _, error = bench(*words, "--scheme", "w4a8+minmax+tgroups=2")
    assert code == 0, error
    assert "; changed by the quantization method tgroups=2" in error
    (path,) = (tmp_path / "out").glob("*/run.json")
    _, simulated, *compiled = json.loads(path.read_text())["records"]
    assert simulated["status"] == "ok"
    assert [record["status"] for record in compiled] == ["refused"] * X86
    report = path.with_name("report.md").read_text(encoding="utf-8")
    assert "tgroups=2 v1 of bench" in report
    assert ("compiled takes no ranges that switch (tgroups): use int8-x86" in report) == X86
    # A layer looked at alone has no timestep.
    words_of_probe = ("--cards", cards, "--preset", "smoke", "--probes", "sensitivity")
    code, out, error = bench("probe", *words_of_probe, "--scheme", "w4a8+tgroups=2")
    assert code != 0
    assert "scheme w4a8+tgroups=2: probes refuse tgroups, as they give each image a" in error
    code, out, error = bench(*words, "--scheme", "w4a8+tgroups=1")
    assert (code, out) == (2, "")
    assert "tgroups=8 takes a number of groups, 2 to 1000, not '1'" in error.splitlines()[-1]
