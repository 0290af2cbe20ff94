"""Weight ranges that are not symmetric.

Plain rounding has as many codes on either side of 0. Affine codes reach from the least to the
largest weight of a row,

    w_q = s (q - z),    s = (max w - min w) / (2^b - 1),

and so spend none on a side where a row has few weights (Jacob et al. 2018, arXiv 1712.05877).
"""

from __future__ import annotations

from torch.fx import GraphModule

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods.rounded import (
    affine_rows,
    later,
    round_rows,
    rounded_layers,
    rows_of,
)


class Asymmetric:
    """Rounds the weights from their least to their largest, not symmetrically (Jacob et al. 2018).

    Their zero points are codes, and 0 stays 0 exactly.
    """

    version = METHOD_VERSIONS["asymmetric"]

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights, and what has chosen codes or ranges before."""
        if scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so they have no range"
        if earlier := later(scheme, "asymmetric"):
            return f"it changes the ranges that {earlier} chose: name asymmetric before {earlier}"
        return None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Round the weights of all layers anew; nothing is calibrated."""
        for each in rounded_layers(graph):
            round_rows(graph, each, *affine_rows(rows_of(graph, each), each.layer.weight_bits))
        return graph
