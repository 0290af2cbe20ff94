"""The integer programme against all choices there are, budgets to the last bit, and graphs whose
layers have bits of their own."""

import copy
import itertools
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay

from bench.core.allocation import Share
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.quant import allocation, budget
from bench.quant.graph import layers_of, quantize_graph
from bench.quant.layers import exported, layers, shares
from bench.quant.rounded_alone import RoundedAlone
from bench.quant.stored import quantized
from bench.system.host import instruction_set


def problem(seed, count=6, widths=3):
    """Layers of random sizes and costs that fall by about 4 with each bit."""
    generator = np.random.default_rng(seed)
    parts = [
        Share(f"layer{k}", int(generator.integers(1, 10_000)), 9 - widths) for k in range(count)
    ]
    falling = 4.0 ** -np.arange(widths)[:, None] * generator.uniform(0.3, 3, (count, widths, 2))
    return parts, {
        part.name: 10.0 ** generator.uniform(-9, 0) * costs
        for part, costs in zip(parts, falling, strict=True)
    }


def allocated(denoiser, scheme, batches):
    return allocation.allocated(denoiser, scheme, batches, exported(denoiser, batches.shape[0]))


def cost(parts, table, bits):
    return allocation.allocation(parts, table, bits).predicted.mean()


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_best_of_all_choices(seed):
    parts, table = problem(seed)
    ways = [
        dict(zip(table, widths, strict=True)) for widths in itertools.product((6, 7, 8), repeat=6)
    ]
    assert len(ways) == 3**6
    for allowed in (6.1, 6.9, 7.53, 7.99):
        within = [bits for bits in ways if budget.mean(parts, bits) <= allowed]
        best = min(cost(parts, table, bits) for bits in within)
        bits = allocation.least(parts, table, allowed)
        assert bits in within
        assert cost(parts, table, bits) == pytest.approx(best, rel=1e-7)


def test_the_budget_is_kept_to_the_last_bit_and_used():
    """The sizes of networks of billions of weights: a millionth of a budget is many bits."""
    parts, table = problem(3, count=40, widths=7)
    parts = [replace(part, size=part.size * 999_983 + 1) for part in parts]
    before = np.inf
    for hundredths in range(250, 800, 50):
        bits = allocation.least(parts, table, hundredths / 100)
        spent = sum(part.size * bits[part.name] for part in parts)
        mean = Fraction(spent, sum(part.size for part in parts))
        assert mean <= Fraction(hundredths, 100)
        assert mean > Fraction(hundredths - 20, 100)
        now = cost(parts, table, bits)
        assert now <= before * (1 + 1e-7)
        before = now


def test_costs_of_zero_need_no_bits():
    parts, table = problem(5)
    table["layer2"] = table["layer2"] * 0
    bits = allocation.least(parts, table, 6.0 + 1.9 * (1 - parts[2].size / total(parts)))
    assert bits["layer2"] == 6
    nothing = {name: costs * 0 for name, costs in table.items()}
    bits = allocation.least(parts, nothing, 6.5)
    assert budget.mean(parts, bits) <= 6.5


def total(parts):
    return sum(part.size for part in parts)


def test_what_counts_in_a_budget(toy):
    graph = exported(toy, 3)
    known = {layer.name: layer for layer in layers(toy, Scheme(), 3) if layer.weights}
    by_weights = shares(graph, Scheme.parse("w~6a8"))
    assert [(p.name, p.size, p.least) for p in by_weights] == [
        ("first", 36, 8),
        ("time", 12, 2),
        ("mix", 48, 2),
        ("last", 36, 8),
    ]
    by_macs = shares(graph, Scheme.parse("w~6a8+by-macs+all"))
    assert [(p.name, p.size, p.least) for p in by_macs] == [
        (name, known[name].macs, 2) for name in ("first", "time", "mix", "last")
    ]
    skipping = shares(graph, Scheme.parse("w~6a8+skip-io+skip=mix"))
    assert [p.name for p in skipping] == ["time"]


def test_a_budget_below_the_edges_is_refused_with_what_can_be_had(toy, toy_batches):
    # (72 x 8 + 60 x 2) / 132 = 5.27...
    with pytest.raises(InputError, match=r"first, last at 8 bits or more.* 5\.28 bits: raise"):
        layers(toy, Scheme.parse("w~5.27a8"))
    with pytest.raises(InputError, match=r"add \+all"):
        quantize_graph(toy, Scheme.parse("w~5a8"), toy_batches)
    bits = allocated(toy, Scheme.parse("w~5.28a8"), toy_batches)
    assert bits == {"first": 8, "time": 2, "mix": 2, "last": 8}


def test_layers_of_a_graph_have_the_bits_of_the_allocation(toy, toy_batches):
    scheme = Scheme.parse("w~4.5a6+all")
    graph = quantize_graph(toy, scheme, toy_batches)
    bits = allocated(toy, scheme, toy_batches)
    planned = {layer.name: layer for layer in layers_of(graph) if layer.weights}
    assert {name: layer.weight_bits for name, layer in planned.items()} == bits
    assert len(set(bits.values())) > 1
    assert {layer.act_bits for layer in planned.values()} == {6}
    spent = sum(layer.weights * layer.weight_bits for layer in planned.values())
    assert spent <= 4.5 * sum(layer.weights for layer in planned.values())


@pytest.mark.parametrize("words", ["w~6.5a8+by-macs", "w~5a8+all+gptq+bias"])
def test_kept_and_made_anew_are_one_graph(words, toy, toy_batches, tmp_path):
    first, second = assert_one_graph(words, toy, toy_batches, tmp_path / "place")
    assert layers_of(first) == layers_of(second)
    assert json.loads((tmp_path / "place" / allocation.FILE).read_bytes().split(b"\n")[0])


@pytest.mark.skipif(not instruction_set(), reason="needs kernels of an x86 CPU")
def test_kernels_agree_and_coverage_has_the_bits(toy, toy_batches):
    made = assert_kernels_agree("w~5.5a8+all", toy, toy_batches)
    bits = allocated(toy, Scheme.parse("w~5.5a8+all"), toy_batches)
    of_layers = {la.name: la.bits for la in made.coverage.layers if la.weights}
    assert of_layers == {name: f"w{width}a8" for name, width in bits.items()}
    assert sum(made.coverage.macs_by_bits.values()) == made.coverage.macs_quantized


def test_a_killed_run_goes_on_where_it_stopped(toy, toy_batches, tmp_path, monkeypatch):
    scheme = Scheme.parse("w~4.5a8+all")
    whole = allocated(toy, scheme, toy_batches)
    kept = Replay(toy_batches)
    kept.place = tmp_path / "place"
    measure, asked = RoundedAlone.alone, []

    def killed(self, name, widths):
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measure(self, name, widths)

    monkeypatch.setattr(RoundedAlone, "alone", killed)
    with pytest.raises(KeyboardInterrupt):
        allocated(toy, scheme, kept)
    assert allocated(toy, scheme, kept) == whole
    assert asked == ["first", "time", "mix", "mix", "last"]
    monkeypatch.setattr(allocation, "least", None)
    assert allocated(toy, scheme, kept) == whole


def test_a_graph_whose_bits_are_lost_is_made_anew_of_what_was_measured(
    toy, toy_batches, tmp_path, monkeypatch
):
    scheme, kept = Scheme.parse("w~4.5a8+all"), Replay(toy_batches)
    kept.place = tmp_path / "place"
    graph = quantized(toy, scheme, kept)
    (kept.place / allocation.FILE).unlink()
    monkeypatch.setattr(RoundedAlone, "alone", None)
    again = quantized(toy, scheme, kept)
    assert layers_of(again) == layers_of(graph)


def test_weights_that_are_not_finite_are_told(toy, toy_batches):
    broken = copy.deepcopy(toy.model)
    broken.mix.weight.data[0, 0] = float("nan")
    denoiser = replace(toy, model=broken)
    with pytest.raises(RuntimeError, match="not finite: check the weights"):
        allocated(denoiser, Scheme.parse("w~4a8+all"), toy_batches)
