"""Groups of input channels that share a step, in place of whole output channels.

Plain rounding has one step for each output channel, s = max|w| / ((2^b - 1) / 2). With groups of n
input channels, n weights of a linear layer, or n windows of a convolution, have a step of their
own (Dai et al. 2021, VS-Quant, arXiv 2102.04503), as the 4-bit formats of torchao (`group_size`),
GGUF and NVFP4 ship them: smaller errors, for a float more in each group and a sum of products.
"""

from __future__ import annotations

from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant import weight_rows
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods.rounded import (
    GROUPS,
    later,
    names,
    round_rows,
    rounded_layers,
    rows_of,
)
from bench.quant.steps import widest


class _Groups:
    """A step for each group of so many input channels."""

    size = 0
    version = METHOD_VERSIONS["groups"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights, other groups, and what has chosen codes or ranges before."""
        if scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so they have no steps"
        given = names(scheme)
        own = f"g{self.size}"
        if others := [name for name in given if name in GROUPS and name != own]:
            return f"{others[0]} groups the same weights: name one of them"
        if earlier := later(scheme, own):
            return f"{own} changes the ranges that {earlier} chose: name {own} before {earlier}"
        return None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Round the weights of all layers anew; those with no more input channels than a group
        has keep their steps.

        Raises:
            InputError: the groups do not divide the input channels of a layer.
        """
        layers = rounded_layers(graph)
        for each in layers:
            channels = each.weight.shape[1]
            if channels > self.size and channels % self.size:
                raise InputError(
                    f"g{self.size}: layer {each.layer.name} has {channels} input channels, which "
                    f"groups of {self.size} do not divide: take smaller ones, or leave it in "
                    f"float by skip={each.layer.name}"
                )
        for each in layers:
            if (channels := each.weight.shape[1]) <= self.size:
                continue
            weight_rows.regroup(graph, each.node, each.weight.shape, channels // self.size)
            largest = rows_of(graph, each).abs().amax(1).clamp(min=1e-30)
            round_rows(graph, each, widest(largest, each.layer.weight_bits))
        return graph


class Groups16(_Groups):
    """Gives each group of 16 input channels a step of its own (NVFP4, GGUF)."""

    size = 16


class Groups32(_Groups):
    """Gives each group of 32 input channels a step of its own (torchao, GGUF)."""

    size = 32


class Groups64(_Groups):
    """Gives each group of 64 input channels a step of its own (torchao, GGUF)."""

    size = 64


class Groups128(_Groups):
    """Gives each group of 128 input channels a step of its own (torchao, GGUF)."""

    size = 128
