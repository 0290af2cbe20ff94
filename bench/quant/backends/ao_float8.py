"""Backend `ao-float8`: torchao's products of 8-bit floats, on GPUs that have them.

Weights (by output channel) and activations (by row, when it runs) become e4m3: a sign, four bits
of exponent and three beside. So an image does not depend on its batch mates, as it would with one
range for a whole tensor.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends.linear_only import LinearOnly
from bench.system.quiet import quiet_import

if TYPE_CHECKING:
    from torch import nn

# The least compute capability whose GPUs multiply 8-bit floats row by row.
LEAST = 90
# The sizes of a product must be multiples of it.
BLOCK = 16


class AoFloat8(LinearOnly):
    """torchao's float8 weights and activations, with ranges by row when it runs."""

    kernel, bits, package = "ao-float8", "w8a8", "torchao"

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse as the others, and hardware without such products."""
        found = re.search(r"sm_(\d+)$", host.isa)
        if not host.device.startswith("cuda") or found is None or int(found[1]) < LEAST:
            return (
                f"ao-float8 needs a GPU that multiplies 8-bit floats by rows (compute capability "
                f"9.0), and this is {host.device} {host.isa}"
            )
        return super().refuses(scheme, host)

    def leaves(self, linear: nn.Linear) -> str:
        """Other types than bfloat16 stay, and sizes that the products do not take."""
        import torch

        if linear.weight.dtype != torch.bfloat16:
            return "is not in bfloat16, of which float8 by rows is made: set dtype: bfloat16"
        if linear.in_features % BLOCK or linear.out_features % BLOCK:
            return f"has sizes that are no multiples of {BLOCK}"
        return ""

    def make(self, linear: nn.Linear) -> nn.Module:
        """The layer with its weights as a tensor subclass."""
        from torch import nn

        with quiet_import():
            from torchao import quantization
        made = quantization.Float8DynamicActivationFloat8WeightConfig(
            granularity=quantization.PerRow()
        )
        holder = nn.Sequential(linear)
        quantization.quantize_(holder, made)
        return holder[0]
