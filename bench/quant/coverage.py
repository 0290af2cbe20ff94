"""Which share of a network a scheme covers, counted from the layers that execute.

Theoretical size: quantized weights packed at their bits, a float32 step for each of their rows and
a byte where rows have zero points, everything else in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.core.denoiser import Denoiser
from bench.core.record import Coverage, LayerCoverage
from bench.core.scheme import FLOAT_BITS
from bench.quant.layers import Layer
from bench.quant.precisions import SHORT, number_bytes, precision


def measure(
    denoiser: Denoiser,
    layers: Sequence[Layer],
    kernel: str,
    operators: Mapping[str, str],
    steps: Mapping[str, int] | None = None,
) -> Coverage:
    """Sum up the layers of one evaluation.

    Args:
        denoiser: the full-precision network, for its parameters; those of layers that methods
            added are counted beside them.
        layers: from `plan`, or `layers_of` a quantized graph.
        kernel: in a word, what executes them.
        operators: what computes each layer, by its node, read from what runs; a layer without one
            does not execute.
        steps: bytes of the steps and zero points of layers by their names, `graph.step_bytes`;
            where it has none, a step for each output channel.
    """
    layers = [layer for layer in layers if layer.node in operators]
    full = SHORT[precision(denoiser.model)]
    params, params_quantized, size = _sizes(denoiser, layers, steps or {})
    by_bits: Counter[str] = Counter()
    by_kernel: Counter[str] = Counter()
    for layer in layers:
        by_kernel[operators[layer.node]] += layer.macs
        if layer.quantized:
            by_bits[layer.bits] += layer.macs
    return Coverage(
        macs=sum(layer.macs for layer in layers),
        macs_quantized=sum(x.macs for x in layers if x.weight_bits not in FLOAT_BITS),
        params=params,
        params_quantized=params_quantized,
        bytes=size,
        kernel=kernel,
        macs_by_bits=dict(by_bits),
        skipped=tuple(dict.fromkeys((each.name, each.reason) for each in layers if each.reason)),
        macs_by_kernel=dict(by_kernel),
        layers=tuple(
            LayerCoverage(
                layer.name,
                layer.macs,
                layer.weights,
                layer.bits if layer.quantized else full,
                operators[layer.node],
                layer.reason,
            )
            for layer in layers
        ),
    )


def _sizes(
    denoiser: Denoiser, layers: Sequence[Layer], steps: Mapping[str, int]
) -> tuple[int, int, int]:
    """Parameters, those of them that are rounded, and bytes of all of them."""
    # A module that runs twice has its weights once.
    rounded = {each.name: each for each in layers if each.weight_bits not in FLOAT_BITS}.values()
    added = {layer.name: layer.weights for layer in layers if layer.added}
    own = sum(parameter.numel() for parameter in denoiser.model.parameters())
    params, quantized = own + sum(added.values()), sum(layer.weights for layer in rounded)
    packed = sum(-(-layer.weights * layer.weight_bits // 8) for layer in rounded)
    beside = sum(steps.get(layer.name, 4 * layer.channels) for layer in rounded)
    return params, quantized, packed + beside + number_bytes(denoiser.model) * (params - quantized)
