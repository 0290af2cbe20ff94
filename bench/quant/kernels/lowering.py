"""Lowering the quantized graph to integer kernels: what is the same on every machine.

Activations are rounded to codes, and each layer is handed to a kernel (`integer_layer`); which one
is taken is the business of a backend.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from bench.quant.graph import DEQUANTIZES, QUANTIZES, decomposed, layers_of, ranges_of
from bench.quant.kernels.integer_layer import IntegerLayer, Kernel, Sum, parts
from bench.quant.layers import Layer
from bench.quant.operators import CONVOLUTIONS
from bench.quant.rewrite import Execution, Rewriter
from bench.quant.weight_rows import rows_node

aten = torch.ops.aten

# Channels a group up to which torch normalizes channels-last tensors, as integer convolutions
# return them, slower than it copies them: up to 12 times slower for one channel a group.
NARROW = 1


def quantize(x: Tensor, scale: float | Tensor, zero: int | Tensor, high: int) -> Tensor:
    """q_x of a float32 tensor, uint8 of its shape and memory format.

    The codes are those of `fake_quantize_per_tensor_affine`, which the simulation uses. A scale
    and a zero point may be tensors of no dimension.
    """
    if isinstance(scale, Tensor) and x.device.type != "cpu":
        return quantize_by_tensors(x, scale, zero, high)
    scale, zero = float(scale), int(zero)
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not _has_fused():
        return decomposed.quantize_per_tensor.default(x, scale, zero, 0, high, torch.uint8)
    # One pass over memory, against five of the function above when it is not compiled; its bytes
    # are the codes.
    made = torch.quantize_per_tensor(x, scale, zero, torch.quint8)
    codes = torch.empty(0, dtype=torch.uint8).set_(
        made.untyped_storage(), 0, made.shape, made.stride()
    )
    return codes if high == 255 else codes.clamp_(max=high)


def quantize_by_tensors(x: Tensor, scale: Tensor, zero: int | Tensor, high: int) -> Tensor:
    """As `quantize`, without waiting for a device to tell the value of the scale."""
    steps = x * scale.double().reciprocal().float()
    return (steps.round() + zero).clamp(0, high).to(torch.uint8)


@functools.cache
def _has_fused() -> bool:
    """Whether this torch still has its quantized tensors; it warns, once, that they will go."""
    if not hasattr(torch, "quantize_per_tensor"):
        return False
    with warnings.catch_warnings(action="ignore"):
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
    return True


def lower(graph: GraphModule, kernel: Callable[[IntegerLayer], Kernel]) -> Execution:
    """Replace the layers of a quantized graph by integer kernels.

    Args:
        graph: from `quantize_graph`, with weights and activations of 2 to 8 bits; not changed.
        kernel: chooses the kernel of a layer.

    Raises:
        RuntimeError: nothing is quantized.
    """
    made = _Lowering(graph, kernel).run()
    if not kernels_of(made):
        raise RuntimeError("the quantized graph has no layer in integers")
    return made


def kernels_of(execution: Execution) -> dict[str, Kernel]:
    """The kernels that an execution calls, by the layer's node in the quantized graph."""
    graph = execution.graph
    kernels = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            kernel = cast("Kernel", graph.get_submodule(str(node.target)))
            kernels[node.meta["bench_layer"]] = kernel
    return kernels


class _Lowering(Rewriter):
    def __init__(self, source: GraphModule, kernel: Callable[[IntegerLayer], Kernel]) -> None:
        super().__init__(source)
        self.kernel = kernel
        self.layers = {layer.node: layer for layer in layers_of(source) if layer.quantized}

    def pair(self, x: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
        """The codes; only layers take them."""
        if isinstance(x, Tensor) and not isinstance(scale, Node):
            return quantize(x, scale, zero, high)
        return self.round(quantize, x, scale, zero, high)

    def layer(self, node: Node) -> Node | None:
        layer = self.layers.get(node.name)
        if layer is None:
            return None
        require_integers(node, layer)
        act: Any = node.args[0]
        codes = self.node(self.values[act.args[0]])
        key = ("kernel", codes, node.args[1:])
        if self.pure and key in self.known:
            return self.known[key]
        name = f"layer_{node.name}"
        self.root.add_module(name, self._kernel(node, layer))
        given = (self.values[value] for value in act.args[1:3] if isinstance(value, Node))
        self.known[key] = made = self.graph.call_module(name, (codes, *given))
        return made

    def _kernel(self, node: Node, layer: Layer) -> Kernel:
        whole, zeros = read(self, node, layer)
        cut = parts(whole, zeros)
        if len(cut) == 1:
            return self.kernel(cut[0].layer)
        return Sum(whole, cut, self.kernel)

    def emit(self, target: Any, arguments: Any, options: Any) -> Node:
        if target is aten.group_norm.default:
            x, groups, *rest = arguments
            weights = [value for value in rest if isinstance(value, Tensor)]
            if weights and len(weights[0]) <= NARROW * groups:
                arguments = (super().emit(aten.contiguous.default, (x,), {}), groups, *rest)
        return super().emit(target, arguments, options)


def require_integers(node: Node, layer: Layer) -> None:
    """Refuse a layer with an operand in float.

    Raises:
        RuntimeError: naming it.
    """
    act, weight = cast("tuple[Any, Any]", node.args[:2])
    if act.target not in DEQUANTIZES or act.args[0].target not in QUANTIZES:
        raise RuntimeError(f"layer {layer.name} has a float input, which no integer kernel takes")
    if rows_node(weight) is None:
        raise RuntimeError(f"layer {layer.name} has float weights, which no integer kernel takes")


def read(rewriter: Rewriter, node: Node, layer: Layer) -> tuple[IntegerLayer, Tensor]:
    """The integers and the geometry of a layer of a quantized graph, and the zero points of its
    rows of weights, which are those of the graph.

    Raises:
        RuntimeError: it pads unevenly.
    """
    act, weight = cast("tuple[Any, Any]", node.args[:2])
    act_scale, act_zero = ranges_of(rewriter.source, act)[0].tolist()
    rows = cast("Any", rows_node(weight))
    codes, scale, zeros = (rewriter.values[argument] for argument in rows.args[:3])
    # No bias is None, or an argument that is not there.
    given = cast("Node | None", node.args[2]) if len(node.args) > 2 else None
    bias = rewriter.values[given] if given else None
    geometry = _geometry(node, codes, layer) if node.target in CONVOLUTIONS else {}
    whole = IntegerLayer(
        name=layer.name,
        shape=tuple(act.args[0].args[0].meta["val"].shape),
        weight=codes.detach(),
        scale=scale.detach().to(torch.float32),
        act_scale=act_scale,
        act_zero=int(act_zero),
        act_high=int(act.args[4]),
        bias=None if bias is None else bias.detach(),
        **geometry,
    )
    return whole, zeros.detach()


def _geometry(node: Node, weight: Tensor, layer: Layer) -> dict[str, Any]:
    given: list[Any] = list(node.args[3:])
    for argument in cast("OpOverload", node.target)._schema.arguments[3 + len(given) :]:
        given.append(node.kwargs.get(argument.name, argument.default_value))
    stride, padding, dilation, groups = given
    size, dilation = weight.shape[2:], _pair(dilation)
    if padding == "valid":
        padding = 0
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
        if any(span % 2 for span in spans):
            raise RuntimeError(f"layer {layer.name} pads unevenly, which no integer kernel does")
        padding = [span // 2 for span in spans]
    return {
        "stride": _pair(stride),
        "padding": _pair(padding),
        "dilation": dilation,
        "groups": int(groups),
    }


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return int(values[0]), int(values[-1])
