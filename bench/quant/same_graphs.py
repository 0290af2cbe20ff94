"""Whether two graphs are the same function, seen from how they are written, without calling them.

Names, and where constants stand, may differ; operators, numbers and tensors may not. Graphs that
compute the same in different ways are not recognized.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.quant.weight_rows import constant

ENDS = ("placeholder", "output")
# What torch.export holds the shapes of inputs against; other modules are not looked into.
GUARDS = "_guards_fn"


def are_same(first: GraphModule, second: GraphModule) -> bool:
    """Whether two graphs call the same functions, in the same order, with equal constants."""
    return _Comparison(first, second).run()


class _Comparison:
    def __init__(self, first: GraphModule, second: GraphModule) -> None:
        self.first, self.second = first, second
        # Nodes of the second graph by those of the first one that compute the same.
        self.pairs: dict[Node, Node] = {}

    def run(self) -> bool:
        graphs = self.first.graph, self.second.graph
        calls = [[node for node in graph.nodes if node.op != "get_attr"] for graph in graphs]
        return len(calls[0]) == len(calls[1]) and all(map(self._computes, *calls))

    def _computes(self, one: Node, other: Node) -> bool:
        """Whether two nodes compute the same of the same; they are a pair from then on."""
        self.pairs[one] = other
        if one.op != other.op or not (one.op in ENDS or one.target == other.target):
            return False
        if one.op == "call_module" and (one.users or other.users or one.target != GUARDS):
            return False
        return self._agree((one.args, one.kwargs), (other.args, other.kwargs))

    def _agree(self, one: Any, other: Any) -> bool:
        """Whether arguments are equal, and of the same types: 1 and 1.0 are not."""
        if isinstance(one, Node) and isinstance(other, Node):
            if one.op == other.op == "get_attr":
                return _are_equal(constant(self.first, one), constant(self.second, other))
            return self.pairs.get(one) is other
        if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
            return len(one) == len(other) and all(map(self._agree, one, other))
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(self._agree(one[k], other[k]) for k in one)
        return type(one) is type(other) and bool(one == other)


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two constants are equal tensors, of the same type."""
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return False
    return one.dtype == other.dtype and torch.equal(one, other)
