"""GPTQ against the textbook loop, and never worse than nearest rounding on its own objective."""

import pytest
import torch
from helpers.grids import grid
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay
from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.graph import quantize_graph
from bench.quant.layers import Layer
from bench.quant.methods import moments, products
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.gptq import better_codes, codes_of_columns, error
from bench.quant.methods.rounded import RoundedLayer, rounded_layers
from bench.quant.weight_rows import constants, dequantized
from bench.system.host import instruction_set
from bench.system.random import seeded

LIMITS = (-8, 7)


def problem(seed, outputs=6, inputs=200, samples=400):
    """Weights, their steps, and E[x x^T] of inputs that depend on each other; two are always 0."""
    generator = seeded("gptq", seed)
    weight = torch.randn(outputs, inputs, generator=generator)
    mixed = torch.randn(inputs, inputs, generator=generator) / 4
    x = torch.randn(samples, inputs, generator=generator) @ mixed + 0.3
    x[:, [3, 150]] = 0
    scale = weight.abs().amax(1) / 7.5
    return weight, scale, (x.T.double() @ x.double()) / samples


def textbook(weight, hessian, scale, damp):
    """Round a column, make up for its error with all that are left, and take it out of H^-1."""
    hessian = hessian + damp * hessian.diagonal().mean() * torch.eye(len(hessian))
    inverse, weight = torch.linalg.inv(hessian), weight.double().clone()
    codes = torch.zeros_like(weight)
    for i in range(len(hessian)):
        codes[:, i] = (weight[:, i].float() / scale).round().clamp(*LIMITS)
        wrong = (weight[:, i] - codes[:, i] * scale.double()) / inverse[i, i]
        weight -= wrong[:, None] * inverse[i]
        inverse = inverse - torch.outer(inverse[:, i], inverse[i]) / inverse[i, i]
        # Numbers of a column that is done are 0 but for rounding.
        inverse[i], inverse[:, i] = 0, 0
    return codes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damp", [0.01, 0.3])
def test_blocks_give_the_codes_of_the_textbook_loop(seed, damp):
    weight, scale, hessian = problem(seed)
    blocks = codes_of_columns(weight, hessian, grid(scale, 4), damp)
    assert torch.equal(blocks.double(), textbook(weight, hessian, scale, damp))
    nearest = (weight / scale[:, None]).round().clamp(*LIMITS)
    steps = scale[:, None]
    assert (
        error(weight, blocks * steps, hessian).sum()
        < 0.6 * error(weight, nearest * steps, hessian).sum()
    )


def test_independent_inputs_leave_nearest_rounding():
    weight, scale, hessian = problem(0)
    codes = codes_of_columns(weight, hessian.diagonal().diag(), grid(scale, 4), 0.01)
    assert torch.equal(codes, (weight / scale[:, None]).round().clamp(*LIMITS))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_no_channel_is_worse_than_with_nearest_rounding(bits, groups):
    """Also of few inputs, of which an H of low rank is made."""
    for seed in range(5):
        generator = seeded("groups", bits, seed)
        weight = torch.randn(6, 4, 3, 3, generator=generator)
        x = torch.randn(groups, 12, 36, generator=generator).double()
        hessian = x.transpose(1, 2) @ x / 12
        layer = RoundedLayer(Layer("layer", "conv", 0, 216, 6, bits, 8), None, weight)
        scale = weight.abs().flatten(1).amax(1) / ((2**bits - 1) / 2)
        numbers = grid(scale, bits)
        codes = better_codes(layer, hessian, numbers, 0.01).flatten(1)
        steps = scale[:, None]
        pairs = zip(
            hessian,
            *(
                t.flatten(1).chunk(groups)
                for t in (weight, codes * steps, numbers.nearest(weight) * steps)
            ),
            strict=True,
        )
        for matrix, exact, learned, nearest in pairs:
            assert (error(exact, learned, matrix) <= error(exact, nearest, matrix)).all()


class Convolutions(nn.Module):
    """Convolutions of all shapes, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.same = nn.Conv2d(2, 6, (2, 3), padding="same", dilation=(1, 2))
        self.grouped = nn.Conv2d(6, 4, 3, stride=2, padding=(1, 2), groups=2)
        self.valid = nn.Conv2d(4, 8, 2, padding="valid", bias=False)
        self.across = nn.Linear(3, 3)
        self.back = nn.ConvTranspose2d(8, 2, (6, 4))

    def forward(self, x, t):
        return self.back(self.across(self.valid(self.grouped(self.same(x)))))


@pytest.fixture(scope="module")
def shapes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Convolutions().eval()
    levels = NoiseLevels.discrete(alpha_bar("cosine"))
    x = torch.randn(3, 2, 7, 6, generator=seeded("x"))
    pairs = Replay([(x, torch.tensor([1, 2, 3])), (x + 1, torch.tensor([4, 5, 6]))])
    return Denoiser(model, levels, "epsilon", (2, 7, 6)), pairs


def test_the_objective_is_the_mean_square_of_each_layer_s_error(shapes):
    """What tr((W - Q) H (W - Q)^T) says is what the layers' own operators give."""
    full, pairs = shapes
    graph = quantize_graph(full, Scheme.parse("w3a16+all"), pairs)
    layers = rounded_layers(graph)
    assert [each.layer.name for each in layers] == ["same", "grouped", "valid", "across"]
    totals = {each.layer.name: [] for each in layers}

    class Errors(torch.fx.Interpreter):
        def run_node(self, n):
            for each in layers:
                if each.node is n:
                    difference = dequantized(graph, n) - each.weight
                    y = n.target(self.env[n.args[0]], difference, None, *n.args[3:])
                    channels = (
                        y.flatten(0, 2).T
                        if each.layer.name == "across"
                        else (y.transpose(0, 1).flatten(1))
                    )
                    totals[each.layer.name].append(channels.double())
            return super().run_node(n)

    with torch.no_grad():
        pairs(Errors(graph).run)
    for executions, hessian in moments.by_layer(graph, layers, pairs):
        (each,) = executions
        measured = torch.cat(totals[each.layer.name], 1).square().mean(1)
        exact = each.weight.flatten(1).chunk(len(hessian))
        rounded = dequantized(graph, each.node).flatten(1).chunk(len(hessian))
        said = [error(*parts) for parts in zip(exact, rounded, hessian, strict=True)]
        assert torch.allclose(torch.cat(said), measured, rtol=1e-4, atol=1e-12)


def test_layers_measured_one_at_a_time_have_the_same_moments(shapes, monkeypatch):
    full, pairs = shapes
    graph = quantize_graph(full, Scheme.parse("w3a16+all"), pairs)
    layers = rounded_layers(graph)
    together = [hessian for _, hessian in moments.by_layer(graph, layers, pairs)]
    monkeypatch.setattr(moments, "HELD", 1)
    apart = [hessian for _, hessian in moments.by_layer(graph, layers, pairs)]
    assert len(apart) == 4 and all(map(torch.equal, together, apart))


@pytest.mark.parametrize("words", ["w4a8", "w4a4+all", "w4a16"])
def test_products_of_codes_are_those_of_the_inputs(toy, toy_batches, words, monkeypatch):
    """Integers where the input has one range of at most 8 bits, and the same in floats."""
    scheme = Scheme.parse(words)
    graph = applied(quantize_graph(toy, scheme, toy_batches), toy, scheme, toy_batches)
    layers = rounded_layers(graph)
    made = [hessian for _, hessian in moments.by_layer(graph, layers, toy_batches)]
    kinds = {type(products.products_of([each])).__name__ for each in layers}
    is_one = words in ("w4a8", "w4a4+all") and products.multiplies_exactly()
    assert kinds == {"_OfIntegers" if is_one else "_OfFloats"}
    monkeypatch.setattr(products, "multiplies_exactly", lambda: False)
    floats = [hessian for _, hessian in moments.by_layer(graph, layers, toy_batches)]
    for one, other in zip(made, floats, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_products_of_integers_have_no_error(monkeypatch):
    """Also of the largest codes, in many columns: each number is known without rounding."""
    monkeypatch.setattr(products, "EXACT", 50)
    codes = torch.randint(0, 256, (300, 12), generator=seeded("codes")).float()
    codes[:, 0], codes[:, 1] = 0, 255
    total = products._OfIntegers(12, 0.25, 200)
    for some in codes.split(120):
        total.add(((some - 200) * 0.25).T[None])
    exact = (codes.double() - 200).T @ (codes.double() - 200) / 16
    assert total.count == 300 and torch.allclose(total.mean()[0], exact / 300, rtol=1e-14)


def test_inputs_of_8_bits_that_are_not_finite_are_seen():
    total = products._OfIntegers(3, 0.5, 0)
    total.add(torch.tensor([[[1.0, 2.0], [0.5, torch.nan], [0.0, 0.5]]]))
    assert not torch.isfinite(total.mean()).all()


def test_codes_change_and_steps_stay(toy, toy_batches):
    plain = quantize_graph(toy, Scheme.parse("w3a8"), toy_batches)
    graph = applied(plain, toy, Scheme.parse("w3a8+gptq"), toy_batches)
    changed = 0
    for old, new in zip(rounded_layers(plain), rounded_layers(graph), strict=True):
        (before, old_steps, _), (after, new_steps, _) = (
            constants(g, each.node) for g, each in ((plain, old), (graph, new))
        )
        assert torch.equal(old_steps, new_steps)
        assert after.dtype == torch.int8
        changed += int((before != after).sum())
    assert changed > 5


def test_integer_kernels_run_the_same_graph(toy, toy_batches, tmp_path):
    """Also out of the file that keeps it, and with the bias corrected after it."""
    assert_one_graph("w4a8+gptq=damp:0.1+bias", toy, toy_batches, tmp_path / "place")


@pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)
def test_kernels_of_this_machine_agree_with_the_simulation(toy, toy_batches):
    assert_kernels_agree("w4a8+gptq", toy, toy_batches)


def test_inputs_that_are_not_finite_are_an_error(toy, toy_batches):
    graph = quantize_graph(toy, Scheme.parse("w4a16"), toy_batches)
    broken = Replay([(toy_batches[0][0] * torch.nan, toy_batches[0][1])])
    with pytest.raises(RuntimeError, match="inputs of layer first are not finite"):
        applied(graph, toy, Scheme.parse("w4a16+gptq"), broken)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("damp:0", "gptq=damp:0 must be a number from 1e-06 to 1e\\+06"),
        ("damp:x", "gptq=damp:x must be a number"),
        ("dump:1", "gptq has no option 'dump': did you mean 'damp'"),
        ("damp:1,damp:2", "gptq: option damp is there twice"),
    ],
)
def test_a_bad_option_is_one_line(argument, says):
    with pytest.raises(InputError, match=says):
        refusal(Scheme.parse(f"w4a8+gptq={argument}"))


def test_what_undoes_it_is_refused():
    assert "weights stay in float" in refusal(Scheme.parse("w16a8+gptq"))
    assert "mse changes ranges after it" in refusal(Scheme.parse("w4a8+gptq+mse"))
    assert refusal(Scheme.parse("w4a8+mse+gptq+bias")) is None
    assert str(Scheme.parse("w4a8+gptq+bias")) == "w4a8+gptq+bias"
