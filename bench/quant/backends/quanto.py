"""Backends `quanto-int8` and `quanto-int4`: weights rounded by optimum-quanto.

The layers are those that diffusers' `QuantoConfig` makes: `QLinear` with frozen weights and float
activations. 8-bit weights have a step for each output channel, 4-bit ones a step and a zero point
for each group, of 128 weights where a row has as many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from bench.quant.backends.linear_only import LinearOnly
from bench.system.quiet import quiet_import

if TYPE_CHECKING:
    from torch import Tensor, nn


class QuantoInt8(LinearOnly):
    """8-bit weights, with activations in float."""

    kernel, bits, package, module = "quanto-int8", "w8a16", "optimum-quanto", "optimum.quanto"
    kind: ClassVar[str] = "qint8"

    def make(self, linear: nn.Linear) -> nn.Module:
        """The layer with frozen weights."""
        with quiet_import():
            from optimum import quanto
        made = quanto.QLinear.from_module(linear, weights=getattr(quanto, self.kind))
        made.freeze()
        made.forward = _outside(made.forward)
        return made.requires_grad_(False).eval()


def _outside(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A layer's evaluation outside of inference mode, in which its 4-bit weights raise."""
    import torch

    def evaluated(x: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return forward(x)

    return evaluated


class QuantoInt4(QuantoInt8):
    """4-bit weights, with activations in float."""

    kernel, bits, kind = "quanto-int4", "w4a16", "qint4"
