"""AdaRound on its own objective, after a kill, and in integer kernels."""

import pytest
import torch
from helpers.grids import grid
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay

from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.quant.graph import layers_of, quantize_graph
from bench.quant.layers import Layer
from bench.quant.methods import adaround, side_by_side
from bench.quant.methods.adaround import learned_codes
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.rounded import RoundedLayer, rounded_layers
from bench.quant.methods.side_by_side import SideBySide, Task
from bench.quant.stopped import drawn
from bench.quant.stored import quantized
from bench.quant.weight_rows import constants, dequantized
from bench.system.host import instruction_set
from bench.system.random import seeded

QUICK = "adaround=iterations:30"


def problem(seed, bits=3, groups=1, samples=50):
    """A layer, what it has to do for inputs that depend on each other, and its steps."""
    generator = seeded("adaround", seed, bits)
    weight = torch.randn(6, 12, generator=generator)
    x = torch.randn(groups, 12, samples, generator=generator).cumsum(1)
    met = x + 0.1 * torch.randn(x.shape, generator=generator)
    y = torch.bmm(weight.unflatten(0, (groups, -1)), x).double()
    x, met = x.double(), met.double()
    turned = met.transpose(1, 2) / samples
    task = Task(met @ turned, (y @ turned).flatten(0, 1), y.square().mean(2).flatten())
    layer = Layer("layer", "linear", 0, weight.numel(), 6, bits, 8)
    steps = weight.abs().amax(1) / ((2**bits - 1) / 2)
    return RoundedLayer(layer, None, weight), task, grid(steps, bits)


@pytest.mark.parametrize(
    ("bits", "groups", "iterations"), [(2, 1, 150), (4, 3, 150), (8, 1, 150), (3, 3, 1)]
)
def test_no_channel_is_worse_than_with_nearest_rounding(bits, groups, iterations):
    for seed in range(2):
        layer, task, numbers = problem(seed, bits, groups)
        codes, fallen = learned_codes(layer, task, numbers, iterations)
        nearest, steps = numbers.nearest(layer.weight), numbers.steps
        half = 2 ** (bits - 1)
        assert codes.min() >= -half and codes.max() < half
        assert torch.equal(codes, codes.round())
        # Down or up, no further.
        assert ((codes - layer.weight / steps).abs()[nearest.abs() < half - 1] < 1).all()
        learned, usual = task.error(codes * steps), task.error(nearest * steps)
        assert (learned <= usual).all()
        assert (codes == nearest).all(1).sum() >= fallen
        if iterations > 1:
            assert learned.sum() < (0.8 if bits < 8 else 1) * usual.sum()


def test_it_comes_near_the_best_of_all_roundings():
    """Of 12 weights each way of rounding can be tried: 4,096."""
    layer, task, numbers = problem(7, bits=4)
    codes, _ = learned_codes(layer, task, numbers, 500)
    ways = (torch.arange(2**12)[:, None] >> torch.arange(12)) & 1
    least = []
    for k in range(6):
        step = numbers.steps[k]
        down = (layer.weight[k] / step).floor()
        tried = (down + ways).clamp(-8, 7).double() * step
        of_all = ((tried @ task.hessian[0] - 2 * task.target[k]) * tried).sum(1) + task.power[k]
        least.append(of_all.min().item())
    mine = task.error(codes * numbers.steps).sum() - sum(least)
    nearest = task.error(numbers.nearest(layer.weight) * numbers.steps).sum() - sum(least)
    assert -1e-9 <= mine <= 0.15 * nearest


def test_independent_inputs_leave_nearest_rounding():
    layer, _, numbers = problem(0, bits=4)
    hessian = torch.diag(torch.linspace(1, 2, 12, dtype=torch.float64))
    exact = layer.weight.double()
    task = Task(hessian[None], exact @ hessian, (exact.square() @ hessian).sum(1))
    codes, _ = learned_codes(layer, task, numbers, 150)
    assert torch.equal(codes, numbers.nearest(layer.weight))


def test_weights_on_the_grid_stay():
    _, task, _ = problem(0)
    weight = torch.arange(-6.0, 6).repeat(6, 1)
    layer = RoundedLayer(Layer("layer", "linear", 0, 72, 6, 4, 8), None, weight)
    codes, _ = learned_codes(layer, task, grid(torch.ones(6), 4), 5)
    exact = Task(task.hessian, weight.double() @ task.hessian[0], task.power)
    assert torch.equal(learned_codes(layer, exact, grid(torch.ones(6), 4), 5)[0], weight)
    assert codes.isfinite().all()


def test_what_a_layer_has_to_do_is_what_both_graphs_compute(toy, toy_batches):
    """Its error at the weights of the graph is that of the graph, and earlier layers count."""
    scheme = Scheme.parse("w3a6")
    graph = quantize_graph(toy, scheme, toy_batches)
    layers = rounded_layers(graph)
    both = SideBySide(graph, toy, toy_batches)
    last = layers[-1]
    for each in layers:
        task = both.task(each)
    error = task.error(dequantized(graph, last.node).flatten(1))
    with torch.no_grad():
        outputs = torch.cat([graph(x, t) - toy.model(x, t) for x, t in toy_batches])
    assert last.layer.name == "last"
    assert error.item() == pytest.approx(outputs.double().square().mean().item(), rel=1e-4)


def test_inputs_are_drawn_from_all_of_the_trajectories(toy, toy_batches):
    """Each image with its own timestep, and no more than are asked for."""
    all_of_them = drawn(toy.model, toy_batches, 12, 3)
    assert all(map(torch.equal, sum(all_of_them, ()), sum(toy_batches, ())))
    met = [pair for x, t in toy_batches for pair in zip(x, t, strict=True)]
    some = drawn(toy.model, Replay(list(toy_batches) * 5), 6, 3)
    assert [x.shape for x, _ in some] == [(3, 1, 6, 6)] * 2
    places = [
        next(k for k, (x, t) in enumerate(met) if torch.equal(x, image) and t == step)
        for batch in some
        for image, step in zip(*batch, strict=True)
    ]
    assert len({place // 3 for place in places}) > 2


def test_memory_bounds_how_many_inputs_there_are(toy, toy_batches, monkeypatch):
    graph = quantize_graph(toy, Scheme.parse("w4a8"), toy_batches)
    assert len(SideBySide(graph, toy, toy_batches).full.runs) == 4
    monkeypatch.setattr(side_by_side, "HELD", 1)
    assert len(SideBySide(graph, toy, toy_batches).full.runs) == 1


def test_a_killed_run_goes_on_where_it_stopped(toy, toy_batches, tmp_path, monkeypatch):
    kept = Replay(toy_batches)
    kept.place = tmp_path / "place"
    scheme = Scheme.parse(f"w3a8+{QUICK}")
    whole = applied(quantize_graph(toy, scheme, toy_batches), toy, scheme, toy_batches)
    learn, learned = adaround.learned_codes, []

    def killed(layer, *rest):
        learned.append(layer.layer.name)
        if len(learned) == 3:
            raise KeyboardInterrupt
        return learn(layer, *rest)

    monkeypatch.setattr(adaround, "learned_codes", killed)
    with pytest.raises(KeyboardInterrupt):
        quantized(toy, scheme, kept)
    names = [each.layer.name for each in rounded_layers(whole)]
    assert learned == names[:3]
    again = quantized(toy, scheme, kept)
    assert learned[3:] == names[2:]
    x, t = toy_batches[0]
    with torch.no_grad():
        assert torch.equal(whole(x, t), again(x, t))


def test_codes_change_and_steps_stay(toy, toy_batches, capsys):
    plain = quantize_graph(toy, Scheme.parse("w3a8"), toy_batches)
    graph = applied(plain, toy, Scheme.parse(f"w3a8+{QUICK}"), toy_batches)
    changed = 0
    for old, new in zip(rounded_layers(plain), rounded_layers(graph), strict=True):
        (before, old_steps, _), (after, new_steps, _) = (
            constants(g, each.node) for g, each in ((plain, old), (graph, new))
        )
        assert torch.equal(old_steps, new_steps)
        assert after.dtype == torch.int8
        changed += int((before != after).sum())
    assert changed > 5
    assert layers_of(graph) == layers_of(plain)


def test_channels_that_keep_nearest_rounding_are_told(toy, toy_batches, capsys, monkeypatch):
    monkeypatch.setattr(adaround, "_learned", lambda layer, *rest: layer.weight.flatten(1) * 0 - 4)
    scheme = Scheme.parse("w3a8+adaround")
    applied(quantize_graph(toy, scheme, toy_batches), toy, scheme, toy_batches)
    error = capsys.readouterr().err
    assert error.startswith("bench: adaround: 21 output channels keep nearest rounding"), error


def test_integer_kernels_run_the_same_graph(toy, toy_batches, tmp_path):
    """Also out of the file that keeps it, and with the bias corrected after it."""
    assert_one_graph(f"w4a8+{QUICK}+bias", toy, toy_batches, tmp_path / "place")


@pytest.mark.skipif(
    not instruction_set().startswith(("avx", "amx")), reason="not an x86 CPU with AVX2"
)
def test_kernels_of_this_machine_agree_with_the_simulation(toy, toy_batches):
    assert_kernels_agree(f"w4a8+{QUICK}", toy, toy_batches)


def test_inputs_that_are_not_finite_are_an_error(toy, toy_batches):
    graph = quantize_graph(toy, Scheme.parse("w4a16"), toy_batches)
    broken = Replay([(toy_batches[0][0] * torch.nan, toy_batches[0][1])])
    with pytest.raises(RuntimeError, match="inputs of layer first are not finite"):
        applied(graph, toy, Scheme.parse("w4a16+adaround"), broken)


def test_what_undoes_it_is_refused_by_name():
    said = refusal(Scheme.parse("w4a8+gptq+adaround"))
    assert said == "method gptq: adaround rounds the same weights: name one of them"
    assert "gptq rounds the same weights" in adaround.AdaRound().refuses(
        Scheme.parse("w4a8+gptq+adaround")
    )
    assert refusal(Scheme.parse("w4a8+mse+adaround=iterations:5+bias")) is None
    with pytest.raises(InputError, match="iterations:0 must be a number from 1 to 1e"):
        refusal(Scheme.parse("w4a8+adaround=iterations:0"))
