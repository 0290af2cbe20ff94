"""Backends `gguf-q8` and `gguf-q4`: weights as files of llama.cpp keep them, run by diffusers.

Blocks of 32 weights of a row share a step in float16: Q8_0 has 8 bits for each, Q4_0 has 4. The
layers are those that diffusers makes of such a file (`GGUFLinear`): each expands its weights again
when it runs, so they save memory and no products. The package gguf quantizes, as llama.cpp does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench.quant.backends.linear_only import LinearOnly
from bench.system.quiet import quiet_diffusers, quiet_import

if TYPE_CHECKING:
    from torch import nn

BLOCK = 32


class GgufQ8(LinearOnly):
    """Q8_0: 8 bits and half a bit of steps for each weight."""

    kernel, bits, package = "gguf-q8", "w8a16", "gguf"
    kind: ClassVar[str] = "Q8_0"

    def leaves(self, linear: nn.Linear) -> str:
        """Rows of no whole blocks stay."""
        if linear.in_features % BLOCK:
            return f"has {linear.in_features} inputs, which are no multiple of {BLOCK}"
        return ""

    def make(self, linear: nn.Linear) -> nn.Module:
        """The layer with its weights in blocks."""
        import torch

        with quiet_import(), quiet_diffusers():
            from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter
            from gguf import GGMLQuantizationType, quants
        kind = GGMLQuantizationType[self.kind]
        weight = linear.weight.detach()
        blocks = torch.from_numpy(quants.quantize(weight.float().cpu().numpy(), kind))
        has_bias, sizes = linear.bias is not None, (linear.in_features, linear.out_features)
        made = GGUFLinear(*sizes, has_bias, weight.dtype, "meta")
        made.weight = GGUFParameter(blocks.to(weight.device), quant_type=kind)
        made.bias = linear.bias
        return made.eval()


class GgufQ4(GgufQ8):
    """Q4_0: 4 bits and half a bit of steps for each weight."""

    kernel, bits, kind = "gguf-q4", "w4a16", "Q4_0"
