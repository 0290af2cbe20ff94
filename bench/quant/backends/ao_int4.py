"""Backend `ao-int4-weight`: torchao's 4-bit weights in groups of 128, for an NVIDIA GPU.

The products are those of torch itself (`aten._weight_int4pack_mm`), which take bfloat16 alone;
torchao's other forms of 4-bit weights need a package of their own, and it has none for CPUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends.linear_only import LinearOnly
from bench.system.quiet import quiet_import

if TYPE_CHECKING:
    from torch import nn

GROUP = 128


class AoInt4Weight(LinearOnly):
    """torchao's 4-bit weights, with activations in float."""

    kernel, bits, package = "ao-int4-weight", "w4a16", "torchao"

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse as the others, and devices without such products."""
        if not host.device.startswith("cuda"):
            return f"ao-int4-weight needs an NVIDIA GPU, and this run is on {host.device}"
        return super().refuses(scheme, host)

    def leaves(self, linear: nn.Linear) -> str:
        """Other types than bfloat16 stay, and rows of no whole groups."""
        import torch

        if linear.weight.dtype != torch.bfloat16:
            return "is not in bfloat16, which 4-bit products take alone: set dtype: bfloat16"
        if linear.in_features % GROUP:
            return f"has {linear.in_features} inputs, which are no multiple of {GROUP}"
        return ""

    def make(self, linear: nn.Linear) -> nn.Module:
        """The layer with its weights as a tensor subclass."""
        from torch import nn

        with quiet_import():
            from torchao import quantization
        made = quantization.Int4WeightOnlyConfig(
            group_size=GROUP, int4_packing_format="tile_packed_to_4d"
        )
        holder = nn.Sequential(linear)
        quantization.quantize_(holder, made)
        return holder[0]
