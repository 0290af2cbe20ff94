"""What is between integer kernels, fused by torch's compiler once for each structure of network.

Compiling takes most of a minute, and depends on no weight: so nothing that two checkpoints or two
schemes differ in is written into what is compiled. Tensors and ranges are inputs of the compiled
function, and a layer is one operation for the compiler, which calls the kernel of that number of
the network that is being evaluated:

    y = integer_layer(q_x, number)

What two networks share where one compilation serves both is the graph, with the shapes and layouts
of all that it is given, and the number of threads.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Interpreter, Node

from bench.quant.kernels.integer_layer import Kernel
from bench.quant.kernels.lowering import quantize
from bench.quant.rewrite import Execution
from bench.system.quiet import quiet_compiler

Compiled = Callable[..., Tensor]
# Compiled functions by what they are of; a run has networks of few structures.
_KEPT: dict[Any, Compiled] = {}
_MOST = 4
_evaluated = threading.local()


@torch.library.custom_op("bench::integer_layer", mutates_args=())
def integer_layer(codes: Tensor, number: int, size: list[int], stride: list[int]) -> Tensor:
    """The layer of a number in the network that this thread evaluates.

    Args:
        codes: q_x, uint8.
        number: of the kernel.
        size, stride: of the result, float32.
    """
    made: Tensor = _evaluated.kernels[number](codes)
    return made


@integer_layer.register_fake
def _(codes: Tensor, number: int, size: list[int], stride: list[int]) -> Tensor:
    return codes.new_empty_strided(size, stride, dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class Open:
    """A lowered graph whose numbers are inputs.

    Attributes:
        graph: (inputs of the network, *values) -> prediction.
        values: tensors of the network, and the scales and zero points of its ranges.
        kernels: of its layers, by their numbers.
    """

    graph: GraphModule
    values: tuple[Tensor, ...]
    kernels: tuple[Kernel, ...]


class Fused(Execution):
    """An execution whose operations between the kernels are compiled.

    Args:
        opened: the network.
        compiled: what is compiled of it, or of another network of its structure.
        execution: that it was made of.
    """

    def __init__(self, opened: Open, compiled: Compiled, execution: Execution) -> None:
        super().__init__(execution.graph, execution.shapes)
        self.compiled, self.values = compiled, opened.values
        self.kernels = opened.kernels

    @torch.inference_mode()
    def forward(self, *inputs: Tensor) -> Tensor:
        """Predict from inputs of the fixed shapes."""
        self.check(inputs)
        # Of one layout, whatever the caller's: another one would need another compilation.
        given = [x.clone(memory_format=torch.contiguous_format) for x in inputs]
        _evaluated.kernels = self.kernels
        try:
            return self.compiled(*given, *self.values)
        finally:
            del _evaluated.kernels


def fused(execution: Execution, inputs: Sequence[Tensor]) -> Fused:
    """Compile what is between the kernels of an execution, if none of its structure was before.

    Args:
        execution: from `lowering.lower`, without ranges that switch.
        inputs: of the fixed shapes.
    """
    with torch.inference_mode(False), torch.no_grad():
        given = [x.clone(memory_format=torch.contiguous_format) for x in inputs]
        opened = _opened(execution.graph, given)
        about = tuple((x.dtype, x.shape, x.stride()) for x in (*given, *opened.values))
        key = opened.graph.code, about, torch.get_num_threads()
        if key not in _KEPT:
            if len(_KEPT) >= _MOST:
                _KEPT.pop(next(iter(_KEPT)))
            _KEPT[key] = _compiled(opened, given)
    return Fused(opened, _KEPT[key], execution).eval()


def _compiled(opened: Open, inputs: Sequence[Tensor]) -> Compiled:
    with quiet_compiler():
        made = torch._inductor.compile(opened.graph, [*inputs, *opened.values])
    return cast("Compiled", made)


def _opened(graph: GraphModule, inputs: Sequence[Tensor]) -> Open:
    """The graph of an execution with all its numbers as inputs."""
    layouts = _Layouts(graph)
    layouts.run(*inputs)
    made, values, kernels = Graph(), list[Tensor](), list[Kernel]()
    places: dict[Node, Node] = {}
    # Inputs of a graph come before all else: first those of the network, then its values.
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            places[node] = made.placeholder(node.name)
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            places[node] = made.placeholder(f"value_{len(values)}")
            values.append(operator.attrgetter(str(node.target))(graph).detach())
    ranges: dict[Node, list[Node]] = {}
    for node in graph.graph.nodes:
        if node.target is quantize:
            ranges[node] = [made.placeholder(f"value_{len(values) + k}") for k in range(2)]
            values += _range(node)
    for node in graph.graph.nodes:
        if node.op == "call_module":
            kernel = cast("Kernel", graph.get_submodule(str(node.target)))
            codes = places[node.args[0]]
            number, (size, stride) = len(kernels), layouts.found[node]
            kernels.append(kernel)
            call: Any = torch.ops.bench.integer_layer.default
            places[node] = made.call_function(call, (codes, number, size, stride))
        elif node.target is quantize:
            words = (places[node.args[0]], *ranges[node], node.args[3])
            places[node] = made.call_function(quantize_by_inverse, words)
        elif node.op in ("call_function", "output"):
            places[node] = made.node_copy(node, places.__getitem__)
    return Open(GraphModule(nn.Module(), made), tuple(values), tuple(kernels))


def _range(node: Node) -> list[Tensor]:
    """1 / s and z of a rounding, float32 of no dimension; 1 / s as `quantize` has it."""
    _, scale, zero, _ = cast("tuple[Any, ...]", node.args)
    exact = torch.tensor(float(scale), dtype=torch.float32).double().reciprocal()
    return [exact.float(), torch.tensor(float(zero))]


def quantize_by_inverse(x: Tensor, inverse: Tensor, zero: Tensor, high: int) -> Tensor:
    """q_x of a float32 tensor, as `lowering.quantize`, of 1 / s and z in tensors."""
    return ((x * inverse).round() + zero).clamp(0, high).to(torch.uint8)


class _Layouts(Interpreter):
    """Evaluates a graph, and keeps sizes and strides of what its kernels return."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[Node, tuple[list[int], list[int]]] = {}

    def run_node(self, n: Node) -> Any:
        y = super().run_node(n)
        if n.op == "call_module":
            self.found[n] = list(y.shape), list(y.stride())
        return y
