"""Fine-tuning by distillation: exact at its start, better at its end, and never worse."""

import pytest
import torch
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay

from bench.core.scheme import Scheme
from bench.quant.graph import quantize_graph
from bench.quant.methods import fine_tuning
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.fine_tuning import _Lessons, _Student
from bench.quant.methods.rounded import rounded_layers
from bench.quant.stored import quantized
from bench.quant.weight_rows import constants, dequantized
from bench.system.host import instruction_set

X86 = instruction_set().startswith(("avx", "amx"))
QUICK = "finetune=updates:30"


def error(graph, network, pairs):
    with torch.no_grad():
        return sum((graph(x, t) - network.model(x, t)).square().mean().item() for x, t in pairs)


def test_it_begins_at_the_graph_and_predicts_as_it_does(toy, toy_batches):
    """Also after learned rounding, whose codes are none of plain rounding's."""
    scheme = Scheme.parse("w3a8+gptq")
    graph = applied(quantize_graph(toy, scheme, toy_batches), toy, scheme, toy_batches)
    rounded = [dequantized(graph, each.node).clone() for each in rounded_layers(graph)]
    student, lessons = _Student(graph, 0.01), _Lessons(graph, toy, toy_batches)
    with torch.no_grad():
        for layer, weight in zip(student.layers, rounded, strict=True):
            assert torch.allclose(layer.rounded().view_as(weight), weight, atol=1e-6)
        squares = [
            (graph(*inputs) - exact).square().mean()
            for inputs, exact in zip(lessons.inputs, lessons.predictions, strict=True)
        ]
    # Inputs of full precision's trajectories and of its own.
    assert len(lessons.inputs) == 2 * len(toy_batches)
    assert student.error(lessons) == pytest.approx(torch.stack(squares).mean().item(), rel=1e-4)


def test_steps_have_the_slope_of_their_rounding(toy, toy_batches):
    """d w_q / d log s is s (round(w / s) - w / s) inside and s times the end outside (LSQ)."""
    graph = quantize_graph(toy, Scheme.parse("w3a8"), toy_batches)
    layer = _Student(graph, 0.01).layers[1]
    with torch.enable_grad():
        layer.rounded().sum().backward()
    steps = layer.grid.steps
    position = layer.start / steps
    inside = (position > layer.grid.low) & (position < layer.grid.high)
    slopes = torch.where(inside, position.round() - position, layer.grid.within(position))
    assert torch.allclose(layer.steps.grad, (slopes * steps).sum(1), atol=1e-5)
    # One for each step that a weight moves, where it is not clipped.
    assert torch.allclose(layer.weight.grad, (inside * steps).expand_as(position), atol=1e-6)


def test_the_prediction_is_much_nearer_afterwards(toy, toy_batches):
    plain = quantize_graph(toy, Scheme.parse("w3a8"), toy_batches)
    scheme = Scheme.parse("w3a8+finetune=updates:100")
    graph = applied(plain, toy, scheme, toy_batches)
    assert error(graph, toy, toy_batches) < 0.4 * error(plain, toy, toy_batches)


def test_where_nothing_is_gained_everything_stays(toy, toy_batches, capsys):
    plain = quantize_graph(toy, Scheme.parse("w8a8"), toy_batches)
    scheme = Scheme.parse("w8a8+finetune=updates:3,rate:1")
    graph = applied(plain, toy, scheme, toy_batches)
    assert "3 updates gained nothing" in capsys.readouterr().err
    for old, new in zip(rounded_layers(plain), rounded_layers(graph), strict=True):
        pairs = zip(constants(plain, old.node), constants(graph, new.node), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
    assert error(graph, toy, toy_batches) == error(plain, toy, toy_batches)


def test_a_killed_run_goes_on_and_gives_the_same(toy, toy_batches, tmp_path, monkeypatch):
    kept = Replay(toy_batches)
    kept.place = tmp_path / "place"
    scheme = Scheme.parse(f"w3a8+{QUICK}")
    monkeypatch.setattr(fine_tuning, "PAUSE", 10)
    made, original = [], _Student.update

    def killed(self, lessons, number, total):
        if number == 24:
            raise KeyboardInterrupt
        made.append(number)
        original(self, lessons, number, total)

    monkeypatch.setattr(_Student, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        quantized(toy, scheme, kept)
    monkeypatch.setattr(
        _Student, "update", lambda self, *rest: made.append(rest[1]) or original(self, *rest)
    )
    again = quantized(toy, scheme, kept)
    assert made == [*range(24), *range(20, 30)]
    whole = quantized(toy, scheme, toy_batches)
    x, t = toy_batches[0]
    with torch.no_grad():
        assert torch.equal(whole(x, t), again(x, t))


@pytest.mark.parametrize("words", [f"w4a8+{QUICK}", f"w3a6+asymmetric+gptq+{QUICK}+bias"])
def test_integer_kernels_run_the_same_graph(toy, toy_batches, tmp_path, words):
    assert_one_graph(words, toy, toy_batches, tmp_path / "place")


@pytest.mark.skipif(not X86, reason="needs the int8 kernels of an x86 CPU")
def test_kernels_of_this_machine_agree(toy, toy_batches):
    assert_kernels_agree(f"w4a8+{QUICK}", toy, toy_batches)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("w16a8+finetune", "the weights stay in float"),
        ("w4a8+finetune+adaround", "name adaround before finetune"),
        ("w4a8+finetune+mse", "name mse before finetune"),
    ],
)
def test_contradictions_are_refused_by_name(words, reason):
    assert reason in refusal(Scheme.parse(words))


def test_predictions_that_are_not_finite_are_an_error(toy, toy_batches):
    broken = Replay([(x * float("nan"), t) for x, t in toy_batches])
    graph = quantize_graph(toy, Scheme.parse("w3a8"), toy_batches)
    with pytest.raises(RuntimeError, match="predictions of the network are not finite"):
        applied(graph, toy, Scheme.parse(f"w3a8+{QUICK}"), broken)
