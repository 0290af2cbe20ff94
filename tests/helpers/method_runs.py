"""What holds for every method of quantization: all that executes its graph agrees."""

from __future__ import annotations

from dataclasses import replace

import torch
from helpers.toys import Replay

from bench.core.scheme import Scheme
from bench.quant.backends.int8 import Int8X86
from bench.quant.graph import inputs_of
from bench.quant.kernels import agreement
from bench.quant.kernels.integer_layer import Reference
from bench.quant.kernels.lowering import lower
from bench.quant.simulate import simulate
from bench.quant.stored import quantized


def assert_one_graph(words, network, batches, place):
    """The graph, the same out of the file that keeps it, and one made anew give the same
    simulation to the bit; integer arithmetic runs both of the kept ones. They are returned.

    The first starts from the calibration that the scheme without methods has kept, if it can."""
    kept, plain = Replay(batches), Replay(batches)
    kept.place, kept.plain, plain.place = place, place / "plain", place / "plain"
    scheme = Scheme.parse(words)
    if not scheme.budget:
        quantized(network, replace(scheme, methods=()), plain)
    first, second, third = (quantized(network, scheme, each) for each in (kept, kept, batches))
    x, t = batches[0]
    with torch.no_grad():
        assert torch.equal(simulate(first)(x, t), simulate(second)(x, t))
        assert torch.equal(simulate(first)(x, t), simulate(third)(x, t))
    for graph in (first, second):
        measured = agreement.measure(lower(graph, Reference), simulate(graph), inputs_of(graph))
        assert measured.worst_sqnr > 90
    return first, second


def assert_kernels_agree(words, network, batches):
    """The kernels of an x86 CPU agree with the simulation; what they made is returned."""
    made = Int8X86()(network, Scheme.parse(words), batches)
    assert made.coverage.agreement.worst_sqnr > 90
    return made
