"""Rounding learned for the output of blocks: never worse than nearest, better than by layers."""

import pytest
import torch
from helpers.method_runs import assert_kernels_agree, assert_one_graph
from helpers.toys import Replay

from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.quant.graph import float_of, quantize_graph
from bench.quant.methods import block_reconstruction
from bench.quant.methods import blocks as of_modules
from bench.quant.methods.applying import applied, refusal
from bench.quant.methods.block_reconstruction import _Learner
from bench.quant.methods.blocks import blocks
from bench.quant.methods.rounded import grid_of, numbers_of, rounded_layers, set_codes
from bench.quant.methods.side_by_side import SideBySide
from bench.quant.stored import quantized
from bench.quant.weight_rows import constants
from bench.system.host import instruction_set

X86 = instruction_set().startswith(("avx", "amx"))
QUICK = "brecq=iterations:60"


@torch.no_grad()
def learner(network, pairs, words="w3a8"):
    """Before the only block of the toy network."""
    graph = quantize_graph(network, Scheme.parse(words), pairs)
    (block,) = blocks(float_of(graph), rounded_layers(graph))
    return graph, block, _Learner(graph, SideBySide(graph, network, pairs), block)


def test_the_error_is_that_of_the_block_s_output(toy, toy_batches):
    """Of the whole network here: with the weights of the graph it is what the graph gives."""
    graph, block, one = learner(toy, toy_batches)
    codes = [numbers_of(graph, each) for each in block.layers]
    with torch.no_grad():
        both = [(graph(x, t), toy.model(x, t)) for x, t in toy_batches]
    expected = torch.stack([(y - exact).square().mean() for y, exact in both]).mean()
    assert one._error(codes) == pytest.approx(expected.item(), rel=1e-5)


def test_it_is_much_better_than_nearest_rounding_and_a_neighbour_of_it(toy, toy_batches):
    graph, block, one = learner(toy, toy_batches)
    nearest = [numbers_of(graph, each) for each in block.layers]
    codes, is_learned = one.learned(150)
    assert is_learned and one._error(codes) < 0.3 * one._error(nearest)
    for layer, numbers in zip(block.layers, codes, strict=True):
        grid = grid_of(graph, layer)
        position = layer.weight.flatten(1) / grid.steps
        assert torch.equal(numbers, numbers.round())
        # Down or up, no further.
        assert ((numbers - grid.within(position)).abs() < 1 + 1e-5).all()


def test_whatever_is_learned_badly_is_not_taken(toy, toy_batches, monkeypatch, capsys):
    wrong = lambda self: [grid.within(down - 3) for grid, down in zip(self.grids, self.down)]  # noqa: B905, E731
    monkeypatch.setattr(block_reconstruction.Rounding, "codes", wrong)
    scheme = Scheme.parse(f"w3a8+{QUICK}")
    plain = quantize_graph(toy, scheme, toy_batches)
    graph = applied(plain, toy, scheme, toy_batches)
    for old, new in zip(rounded_layers(plain), rounded_layers(graph), strict=True):
        assert torch.equal(constants(plain, old.node)[0], constants(graph, new.node)[0])
    assert "1 of 1 blocks keep nearest rounding" in capsys.readouterr().err


def test_weights_on_the_grid_stay(toy, toy_batches):
    """Nothing is to be gained where nothing is lost."""
    graph, block, one = learner(toy, toy_batches, "w8a16")
    for layer in block.layers:
        grid = grid_of(graph, layer)
        layer.weight.data.copy_((grid.nearest(layer.weight) * grid.steps).view_as(layer.weight))
        set_codes(graph, layer, grid.nearest(layer.weight))
    codes, _ = one.learned(3)
    for layer, numbers in zip(block.layers, codes, strict=True):
        assert torch.equal(numbers, numbers_of(graph, layer))


def test_a_killed_run_goes_on_at_its_block(toy, toy_batches, tmp_path, monkeypatch):
    """Each layer is a block here."""
    monkeypatch.setattr(of_modules, "MOST", 1)
    kept = Replay(toy_batches)
    kept.place = tmp_path / "place"
    scheme = Scheme.parse("w3a8+brecq=iterations:4")
    learned, original = [], _Learner.learned

    def killed_at_the_fourth(self, iterations):
        if len(learned) == 3:
            raise KeyboardInterrupt
        learned.append(self.block.layers[0].layer.name)
        return original(self, iterations)

    monkeypatch.setattr(_Learner, "learned", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        quantized(toy, scheme, kept)
    done = list(learned)

    def counted(self, iterations):
        learned.append(self.block.layers[0].layer.name)
        return original(self, iterations)

    monkeypatch.setattr(_Learner, "learned", counted)
    again = quantized(toy, scheme, kept)
    assert learned == [*done, "last"] and len(done) == 3
    monkeypatch.setattr(_Learner, "learned", original)
    whole = quantized(toy, scheme, toy_batches)
    x, t = toy_batches[0]
    with torch.no_grad():
        assert torch.equal(whole(x, t), again(x, t))


@pytest.mark.parametrize("words", [f"w4a8+{QUICK}+bias", f"w3a6+asymmetric+mse+{QUICK}"])
def test_integer_kernels_run_the_same_graph(toy, toy_batches, tmp_path, words):
    assert_one_graph(words, toy, toy_batches, tmp_path / "place")


@pytest.mark.skipif(not X86, reason="needs the int8 kernels of an x86 CPU")
def test_kernels_of_this_machine_agree(toy, toy_batches):
    assert_kernels_agree(f"w4a8+{QUICK}", toy, toy_batches)


def test_what_is_not_finite_is_an_error_that_names_the_layer(toy, toy_batches):
    broken = Replay([(x * float("inf"), t) for x, t in toy_batches])
    graph = quantize_graph(toy, Scheme.parse("w3a8"), toy_batches)
    (block,) = blocks(float_of(graph), rounded_layers(graph))
    with pytest.raises(RuntimeError, match="outputs of layer last are not finite"):
        _Learner(graph, SideBySide(graph, toy, broken), block)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("w16a8+brecq", "the weights stay in float"),
        ("w4a8+adaround+brecq", "brecq rounds the same weights"),
        ("w4a8+brecq+mse", "name mse before brecq"),
        ("w4a8+brecq+g32", "name g32 before brecq"),
    ],
)
def test_contradictions_are_refused_by_name(words, reason):
    assert reason in refusal(Scheme.parse(words))


def test_options_are_checked():
    with pytest.raises(InputError, match="brecq has no option 'updates'"):
        refusal(Scheme.parse("w4a8+brecq=updates:3"))
