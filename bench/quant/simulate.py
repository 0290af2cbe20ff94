"""The float simulation of the quantized graph, bit for bit, with no needless work.

A quantize/dequantize pair on an activation is several passes over memory; one
`fake_quantize_per_tensor_affine` computes the same bits. What does not depend on the input (the
dequantized weights above all) is computed once, and equal expressions are computed once.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from bench.quant.graph import decomposed

aten = torch.ops.aten
QUANTIZE = decomposed.quantize_per_tensor.default
DEQUANTIZE = decomposed.dequantize_per_tensor.default
DEQUANTIZE_WEIGHT = decomposed.dequantize_per_channel.default
UPSAMPLE = aten.upsample_nearest2d.vec


class Simulation(nn.Module):
    """(x, t) -> prediction, of the quantized graph in float arithmetic.

    Args:
        graph: from `simulate`.
        shape: of x, fixed by calibration.
    """

    def __init__(self, graph: GraphModule, shape: torch.Size) -> None:
        super().__init__()
        self.graph, self.shape = graph, shape

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict from x of the fixed shape (B, C, H, W) at timesteps t of shape (B,)."""
        if x.shape != self.shape or t.shape != self.shape[:1]:
            raise ValueError(
                f"the quantized network takes x {tuple(self.shape)} and t {tuple(self.shape[:1])}"
                f" only, not {tuple(x.shape)} and {tuple(t.shape)}"
            )
        return self.graph(x, t)


def simulate(graph: GraphModule) -> Simulation:
    """Rewrite a quantized graph for execution in float; its output keeps every bit.

    Args:
        graph: from `quantize_graph`; it is not changed.
    """
    with torch.inference_mode(False), torch.no_grad():
        fast = _Rewriter(graph).run()
    shape = next(node for node in graph.graph.nodes if node.op == "placeholder").meta["val"].shape
    return Simulation(fast, shape).eval()


class _Rewriter:
    """Copies a graph node by node. A value is a constant (kept in `constants`) or a new node."""

    def __init__(self, source: GraphModule) -> None:
        self.source, self.graph, self.root = source, Graph(), nn.Module()
        self.values: dict[Node, Any] = {}
        self.known: dict[Any, Node] = {}
        self.constants: dict[int, Node] = {}
        # An in-place operation anywhere makes aliases visible: then only pairs are fused.
        self.pure = not any(_mutates(node) for node in source.graph.nodes)

    def run(self) -> GraphModule:
        for node in self.source.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self.graph.placeholder(node.name)
            elif node.op == "get_attr":
                self.values[node] = operator.attrgetter(node.target)(self.source)
            elif node.op == "output":
                self.graph.output(self._node(self._value(_only(node.args[0]))))
            elif node.op == "call_function" and not _is_check(node):
                self.values[node] = self._call(node)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        return GraphModule(self.root, self.graph)

    def _call(self, node: Node) -> Any:
        arguments: Any = torch.fx.map_arg(node.args, self._value)
        options: Any = torch.fx.map_arg(node.kwargs, self._value)
        target: Any = node.target
        if _is_fused(node):
            return self._fake_quantize(*arguments[:5])
        if target is DEQUANTIZE and _is_fused(node.args[0]):
            return arguments[0]
        if self.pure and _is_identity(node):
            return arguments[0]
        if not _has_node((arguments, options)) and self._is_foldable(target):
            return target(*arguments, **options)
        return self._emit(target, arguments, options)

    def _is_foldable(self, target: Any) -> bool:
        return target is DEQUANTIZE_WEIGHT or (self.pure and _is_repeatable(target))

    def _fake_quantize(self, x: Any, scale: float, zero: int, low: int, high: int) -> Any:
        function = torch.fake_quantize_per_tensor_affine
        if isinstance(x, Tensor):
            return function(x, scale, zero, low, high)
        if self.pure and x.target is UPSAMPLE:
            # Copying pixels commutes with rounding them, and there are four times fewer before.
            x, *rest = x.args
            small = self._emit(function, (x, scale, zero, low, high), {})
            return self._emit(UPSAMPLE, (small, *rest), {})
        return self._emit(function, (x, scale, zero, low, high), {})

    def _emit(self, target: Any, arguments: Any, options: Any) -> Node:
        arguments, options = torch.utils._pytree.tree_map_only(
            Tensor, self._node, (arguments, options)
        )
        key = repr((target, arguments, options))
        if key in self.known:
            return self.known[key]
        node = self.graph.call_function(target, arguments, options)
        if self.pure and _is_repeatable(target):
            self.known[key] = node
        return node

    def _value(self, node: Node) -> Any:
        return self.values[node]

    def _node(self, value: Any) -> Node:
        """The node of a value; constants become buffers when they are first used."""
        if isinstance(value, Node):
            return value
        if id(value) not in self.constants:
            name = f"constant_{len(self.constants)}"
            self.root.register_buffer(name, value.detach())
            self.constants[id(value)] = self.graph.get_attr(name)
        return self.constants[id(value)]


def _only(value: Any) -> Node:
    """The tensor that the graph returns, out of its tuple."""
    while isinstance(value, (tuple, list)):
        (value,) = value
    return value


def _has_node(values: Any) -> bool:
    return any(isinstance(leaf, Node) for leaf in torch.utils._pytree.tree_leaves(values))


def _is_fused(node: Any) -> bool:
    """Whether a node quantizes an activation that is then only dequantized."""
    return node.target is QUANTIZE and all(user.target is DEQUANTIZE for user in node.users)


def _is_check(node: Node) -> bool:
    return node.target is aten._assert_tensor_metadata.default


def _mutates(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _is_repeatable(target: Any) -> bool:
    """Whether two calls with equal arguments give equal bits."""
    return torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ())


def _is_identity(node: Node) -> bool:
    """Whether a node returns the bits of its first argument: dropout in evaluation mode, division
    or multiplication by one, conversion to the type it has."""
    if node.target is aten.dropout.default:
        return not node.args[2]
    if node.target in (aten.div.Tensor, aten.mul.Tensor):
        one = isinstance(node.args[1], (int, float)) and node.args[1] == 1
    else:
        one = node.target is aten.to.dtype
    before, after = (
        (n.meta.get("val") if isinstance(n, Node) else None) for n in (node.args[0], node)
    )
    return one and before is not None and after is not None and before.dtype == after.dtype
