"""Copying an evaluation graph for execution, with no needless work, bit for bit.

What does not depend on the input (the dequantized weights above all) is computed once, and equal
expressions are computed once. An execution of the quantized graph says what becomes of its
quantize/dequantize pairs and of its layers (`simulate`, `integer`).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from bench.quant.graph import DEQUANTIZES, QUANTIZES
from bench.quant.layers import operator_name
from bench.quant.operators import COUNTED
from bench.quant.weight_rows import DEQUANTIZE as DEQUANTIZE_WEIGHT

aten = torch.ops.aten
UPSAMPLE = aten.upsample_nearest2d.vec
LAYER = "bench_layer"


class Execution(nn.Module):
    """A network's inputs -> its prediction, of a rewritten graph.

    Args:
        graph: from a `Rewriter`. Each node that computes a layer has the layer's node in the
            quantized graph as `meta[LAYER]`.
        shapes: of the inputs, fixed by calibration.
    """

    def __init__(self, graph: GraphModule, shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.graph, self.shapes = graph, tuple(tuple(shape) for shape in shapes)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Predict from inputs of the fixed shapes."""
        self.check(inputs)
        prediction: Tensor = self.graph(*inputs)
        return prediction

    def check(self, inputs: Sequence[Tensor]) -> None:
        """Refuse inputs of other shapes than the fixed ones.

        Raises:
            ValueError: they are.
        """
        given = tuple(tuple(tensor.shape) for tensor in inputs)
        if given != self.shapes:
            raise ValueError(
                f"the quantized network takes inputs of shapes {self.shapes} only, not {given}"
            )


def executed(execution: Execution) -> dict[str, str]:
    """What computes each layer: its node in the quantized graph -> an operator as a profiler shows
    it, read from the graph that runs."""
    operators = {}
    for node in execution.graph.graph.nodes:
        if LAYER not in node.meta:
            continue
        if node.op == "call_module":
            operators[node.meta[LAYER]] = str(execution.graph.get_submodule(node.target).operator)
        else:
            operators[node.meta[LAYER]] = operator_name(node)
    return operators


class Rewriter:
    """Copies a graph node by node. A value is a constant (kept in `constants`) or a new node."""

    def __init__(self, source: GraphModule) -> None:
        self.source, self.graph, self.root = source, Graph(), nn.Module()
        self.values: dict[Node, Any] = {}
        self.known: dict[Any, Node] = {}
        # By the number of a tensor, which is held, so that no other one gets it.
        self.constants: dict[int, tuple[Tensor, Node]] = {}
        # An in-place operation anywhere makes aliases visible: then only pairs are fused.
        self.pure = not any(mutates(node) for node in source.graph.nodes)

    def run(self) -> Execution:
        """The rewritten graph; the source is not changed."""
        with torch.inference_mode(False), torch.no_grad():
            for node in self.source.graph.nodes:
                if node.op == "placeholder":
                    self.values[node] = self.graph.placeholder(node.name)
                elif node.op == "get_attr":
                    self.values[node] = operator.attrgetter(node.target)(self.source)
                elif node.op == "output":
                    self.graph.output(self.result(self.node(self.values[_only(node.args[0])])))
                elif node.op == "call_function" and not _is_check(node):
                    self.values[node] = self._call(node)
        made = GraphModule(self.root, self.graph)
        made.graph.eliminate_dead_code()
        made.graph.lint()
        made.recompile()
        placeholders = [n for n in self.source.graph.nodes if n.op == "placeholder"]
        return Execution(made, [node.meta["val"].shape for node in placeholders]).eval()

    def pair(self, x: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
        """What becomes of an activation that is quantized and dequantized; scale and zero point
        are numbers, or nodes where ranges switch."""
        raise NotImplementedError

    def layer(self, node: Node) -> Any:
        """What becomes of a convolution or linear layer; None to copy it."""
        return None

    def result(self, prediction: Node) -> Any:
        """What the new graph returns."""
        return prediction

    def emit(self, target: Any, arguments: Any, options: Any) -> Node:
        """Call a function in the new graph, once for equal arguments."""
        arguments, options = torch.utils._pytree.tree_map_only(
            Tensor, self.node, (arguments, options)
        )
        key = repr((target, arguments, options))
        if key in self.known:
            return self.known[key]
        node = self.graph.call_function(target, arguments, options)
        if self.pure and _is_repeatable(target):
            self.known[key] = node
        return node

    def round(self, function: Any, x: Any, *arguments: Any) -> Any:
        """Call a function that rounds each element by itself, where it costs least."""
        if self.pure and isinstance(x, Node) and x.target is UPSAMPLE:
            # Copying pixels commutes with rounding them, and there are four times fewer before.
            x, *rest = x.args
            return self.emit(UPSAMPLE, (self.emit(function, (x, *arguments), {}), *rest), {})
        return self.emit(function, (x, *arguments), {})

    def node(self, value: Any) -> Node:
        """The node of a value; constants become buffers when they are first used."""
        if isinstance(value, Node):
            return value
        if id(value) not in self.constants:
            self.constants[id(value)] = value, self.constant(value)
        return self.constants[id(value)][1]

    def constant(self, value: Tensor) -> Node:
        """A node for a constant that has none."""
        name = f"constant_{len(self.constants)}"
        self.root.register_buffer(name, value.detach())
        return self.graph.get_attr(name)

    def _call(self, node: Node) -> Any:
        if node.target in COUNTED and (made := self.layer(node)) is not None:
            made.meta.setdefault(LAYER, node.name)
            return made
        arguments: Any = torch.fx.map_arg(node.args, self.values.__getitem__)
        options: Any = torch.fx.map_arg(node.kwargs, self.values.__getitem__)
        target: Any = node.target
        if _is_fused(node):
            return self.pair(*arguments[:5])
        if target in DEQUANTIZES and _is_fused(node.args[0]):
            return arguments[0]
        if self.pure and _is_identity(node):
            return arguments[0]
        if not _has_node((arguments, options)) and self._is_foldable(target):
            return target(*arguments, **options)
        made = self.emit(target, arguments, options)
        if target in COUNTED:
            made.meta.setdefault(LAYER, node.name)
        return made

    def _is_foldable(self, target: Any) -> bool:
        return target is DEQUANTIZE_WEIGHT or (self.pure and _is_repeatable(target))


def _only(value: Any) -> Node:
    """The tensor that the graph returns, out of its tuple."""
    while isinstance(value, (tuple, list)):
        (value,) = value
    return value


def _has_node(values: Any) -> bool:
    return any(isinstance(leaf, Node) for leaf in torch.utils._pytree.tree_leaves(values))


def _is_fused(node: Any) -> bool:
    """Whether a node quantizes an activation that is then only dequantized."""
    return node.target in QUANTIZES and all(user.target in DEQUANTIZES for user in node.users)


def _is_check(node: Node) -> bool:
    return node.target is aten._assert_tensor_metadata.default


def mutates(node: Node) -> bool:
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
