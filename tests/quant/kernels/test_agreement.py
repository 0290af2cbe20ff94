import pytest
import torch

from bench.core.scheme import Scheme
from bench.quant.graph import inputs_of, quantize_graph
from bench.quant.kernels.agreement import EXACT, measure
from bench.quant.kernels.integer_layer import Reference
from bench.quant.kernels.lowering import kernels_of, lower
from bench.quant.simulate import simulate


@pytest.fixture(scope="module")
def graph(toy, toy_batches):
    return quantize_graph(toy, Scheme.parse("w8a8"), toy_batches)


def test_exact_kernels_agree(graph):
    found = measure(lower(graph, Reference), simulate(graph), inputs_of(graph))
    assert 100 < found.sqnr <= EXACT and found.worst_sqnr > 100
    assert found.worst_layer in {"first", "time", "mix", "last"}
    assert found.codes == 0


class Shifted(Reference):
    """Off by a constant in one layer."""

    def forward(self, codes):
        y = super().forward(codes)
        return y + (self.layer.name == "mix") * 0.03 * y.abs().mean()


def test_a_wrong_kernel_is_named(graph):
    execution = lower(graph, Shifted)
    with pytest.raises(RuntimeError, match=r"layer mix: int64 agrees .* to 3\d\.\d dB only"):
        measure(execution, simulate(graph), inputs_of(graph))


class Noisy(Reference):
    """Right to some 76 dB: within the bound, and yet the codes after it differ now and then."""

    def forward(self, codes):
        y = super().forward(codes)
        noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
        return y + 1.5e-4 * y.std() * noise


def test_codes_and_signal_from_end_to_end(graph):
    found = measure(lower(graph, Noisy), simulate(graph), inputs_of(graph))
    assert 65 < found.worst_sqnr < 80
    # One layer's noise turns some codes, and their whole steps reach the output.
    assert 0 < found.codes < 0.05
    assert 20 < found.sqnr < found.worst_sqnr


def test_a_kernel_that_is_not_finite_is_named(graph):
    class Broken(Reference):
        def forward(self, codes):
            return super().forward(codes) * float("nan")

    with pytest.raises(RuntimeError, match=r"layer first: int64 agrees .* -200\.0 dB"):
        measure(lower(graph, Broken), simulate(graph), inputs_of(graph))


def test_no_hooks_are_left(graph):
    execution = lower(graph, Reference)
    measure(execution, simulate(graph), inputs_of(graph))
    assert not any(kernel._forward_pre_hooks for kernel in kernels_of(execution).values())
