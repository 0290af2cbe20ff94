"""A low-rank branch in float beside the rounded weights.

A few directions hold the largest weights, and with them the range. With the r largest singular
values of a layer's weights, seen as a matrix (C_out, C_in k k),

    W x = (W - U V) x + U (V x),    V of r rows, U of r columns,

the first product is rounded, from a smaller range, and the branch U V x stays in float (Li et al.
2024, SVDQuant, arXiv 2411.05007). The branch takes the input before it is rounded. It costs
r (C_in k k + C_out) float weights and as many multiplications at each place, which the coverage
counts as layers in float, `NAME.down` and `NAME.up`, and the size as float32. Layers whose matrix
has no more than 2 r rows or columns, convolutions in groups and layers that are executed twice
have no branch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.layers import KEPT
from bench.quant.methods import float_graph, options
from bench.quant.methods.windows import groups_of
from bench.quant.operators import CONVOLUTIONS

aten = torch.ops.aten
OPTIONS = {"rank": (16.0, 1.0, 1024.0)}
REASON = "low-rank branch"


class LowRank:
    """Keeps the largest singular values of the weights in a float branch (Li et al. 2024)."""

    version = METHOD_VERSIONS["lowrank"]

    def __init__(self, argument: str = "") -> None:
        self.rank = int(options.numbers("lowrank", argument, OPTIONS)["rank"])

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights."""
        if scheme.weight_bits in FLOAT_BITS:
            return "the weights stay in float, so a branch in float brings nothing"
        return None

    def prepare(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Give all layers a branch that are large enough.

        Raises:
            InputError: there is none.
        """
        branches = 0
        for weight, node in float_graph.executed_once(graph).items():
            matrix = float_graph.exact(graph, weight).flatten(1)
            if min(matrix.shape) > 2 * self.rank and groups_of(node) == 1:
                self._branch(graph, node, weight, matrix)
                branches += 1
        if not branches:
            raise InputError(
                f"lowrank: no layer of this network has more than {2 * self.rank} rows and "
                f"columns: take a rank below {self.rank}"
            )
        return graph

    def _branch(self, graph: GraphModule, node: Node, weight: Node, matrix: Tensor) -> None:
        up, down = factors(matrix, self.rank)
        shape = weight.meta["val"].shape
        float_graph.replace(graph, weight, (matrix - up @ down).view(shape))
        name, output = float_graph.name_of(node), node.meta["val"].shape
        is_convolution = node.target in CONVOLUTIONS
        first = down.view(self.rank, *shape[1:])
        second = up.view(*up.shape, 1, 1) if is_convolution else up
        into = float_graph.weight(graph, node, f"{name}.down", first)
        out = float_graph.weight(graph, node, f"{name}.up", second)
        narrow = list(output)
        narrow[float_graph.channels(node)] = self.rank
        users = list(node.users)
        inner = float_graph.call(
            graph, node, node.target, (node.args[0], into, None, *node.args[3:]), narrow
        )
        kind = aten.conv2d.default if is_convolution else aten.linear.default
        outer = float_graph.call(graph, inner, kind, (inner, out, None), output)
        for each in (inner, outer):
            each.meta[KEPT] = REASON
        total = float_graph.call(graph, outer, aten.add.Tensor, (node, outer), output)
        for user in users:
            user.replace_input_with(node, total)


def factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best approximation of a matrix by a product of low rank (Eckart and Young 1936).

    Args:
        matrix: float32 (M, K).
        rank: below M and K.

    Returns:
        float32 (M, rank) and (rank, K), the singular values shared evenly by both.
    """
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).float(), (root[:, None] * right[:rank]).float()
