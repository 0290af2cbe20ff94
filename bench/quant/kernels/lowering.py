"""Lowering the quantized graph to integer kernels: what is the same on every machine.

With q_x = clamp(round(x / s_x) + z, 0, 2^a - 1) and weights q_w of output channel c, a layer is

    y_c = s_x s_c (sum q_w q_x - z sum q_w) + b_c,

sums of 8-bit products in 32 bits, which are exact in any order. Where rows of weights are groups
of input channels, or have zero points that do not fit 8 bits with the codes, it is the sum of such
layers (`Sum`). A kernel is a module that computes y (float32) from q_x (uint8); which one is taken
is the business of a backend. `Reference` is the definition, in the plainest terms, that every
kernel is tested against.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from bench.quant.graph import DEQUANTIZES, QUANTIZES, decomposed, layers_of, ranges_of
from bench.quant.layers import CONVOLUTIONS, Layer
from bench.quant.rewrite import Execution, Rewriter
from bench.quant.weight_rows import rows_node

aten = torch.ops.aten

# Channels a group up to which torch normalizes channels-last tensors, as integer convolutions
# return them, slower than it copies them: up to 12 times slower for one channel a group.
NARROW = 1


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A convolution or linear layer in integers.

    Attributes:
        name: path of its module.
        shape: of the input, fixed.
        weight: int8 (C_out, C_in / groups, k, k), or (C_out, C_in) of a linear layer.
        scale: s_c, float32 (C_out,).
        act_scale, act_zero, act_high: s_x, z and 2^a - 1 of the input; where its range switches,
            s_x and z are those of the first group, and each call is given its own.
        bias: float32 (C_out,), or None.
        stride, padding, dilation, groups: of a convolution; padding is (top = bottom, left =
            right) and adds zeros, which are z in integers.
    """

    name: str
    shape: tuple[int, ...]
    weight: Tensor
    scale: Tensor
    act_scale: float
    act_zero: int
    act_high: int
    bias: Tensor | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution, else a linear layer."""
        return self.weight.dim() == 4


class Kernel(nn.Module):
    """Computes one layer: q_x, uint8 of the layer's shape -> y, float32.

    Where ranges switch, each call is also given s_x and z, tensors of no dimension.

    Attributes:
        operator: the function that does the products, as a profiler shows it.
        bytes: size of the weights as it keeps them in memory.
    """

    operator: str
    bytes: int

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__()
        self.layer = layer

    def range(self, given: tuple[Any, ...]) -> tuple[Any, Any]:
        """s_x and z of a call: what it was given, else those of the layer."""
        scale, zero = given or (self.layer.act_scale, self.layer.act_zero)
        return scale, zero


@dataclass(frozen=True, eq=False)
class Part:
    """A layer of some input channels of another one."""

    layer: IntegerLayer
    channels: Tensor | slice


class Sum(Kernel):
    """A layer as the sum of others, each of which takes some of its input channels.

    Args:
        whole: what they are together; its weight and its steps are those of the first part.
        parts: the layers, with one bias among them.
        kernel: chooses the kernel of each.
    """

    def __init__(
        self, whole: IntegerLayer, parts: Sequence[Part], kernel: Callable[[IntegerLayer], Kernel]
    ) -> None:
        super().__init__(whole)
        kernels = [kernel(part.layer) for part in parts]
        self.kernels, self.channels = nn.ModuleList(kernels), [part.channels for part in parts]
        self.operator = f"{kernels[0].operator}, {len(parts)} times"
        self.bytes = sum(each.bytes for each in kernels)

    def forward(self, codes: Tensor, *given: Tensor) -> Tensor:
        """Compute y from q_x."""
        total: Tensor | None = None
        for kernel, channels in zip(self.kernels, self.channels, strict=True):
            y = kernel(self._chosen(codes, channels), *given)
            total = y if total is None else total + y
        assert total is not None
        return total

    def _chosen(self, codes: Tensor, channels: Tensor | slice) -> Tensor:
        if not self.layer.is_convolution:
            return codes[..., channels].contiguous()
        chosen = codes[:, channels]
        return chosen.contiguous(memory_format=torch.channels_last)


class Reference(Kernel):
    """The definition in int64: exact, and slow."""

    operator = "int64"

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__(layer)
        self.bytes = layer.weight.numel()

    def forward(self, codes: Tensor, *given: Tensor) -> Tensor:
        """Compute y from q_x."""
        layer, (act_scale, act_zero) = self.layer, self.range(given)
        centred, weight = codes.to(torch.int64) - int(act_zero), layer.weight.to(torch.int64)
        if layer.is_convolution:
            geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
            total = nn.functional.conv2d(centred, weight, None, *geometry)
            scale, bias = layer.scale[:, None, None], layer.bias
            bias = bias if bias is None else bias[:, None, None]
        else:
            total, scale, bias = centred @ weight.T, layer.scale, layer.bias
        y = total.to(torch.float64) * (float(act_scale) * scale.to(torch.float64))
        return (y if bias is None else y + bias).to(torch.float32)


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
        _require_integers(node, layer)
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
        whole, zeros = _read(self, node, layer)
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


def _require_integers(node: Node, layer: Layer) -> None:
    act, weight = cast("tuple[Any, Any]", node.args[:2])
    if act.target not in DEQUANTIZES or act.args[0].target not in QUANTIZES:
        raise RuntimeError(f"layer {layer.name} has a float input, which no integer kernel takes")
    if rows_node(weight) is None:
        raise RuntimeError(f"layer {layer.name} has float weights, which no integer kernel takes")


def _read(rewriter: Rewriter, node: Node, layer: Layer) -> tuple[IntegerLayer, Tensor]:
    """The integers and the geometry of a layer of a quantized graph, and the zero points of its
    rows of weights, which are those of the graph."""
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


def parts(whole: IntegerLayer, zeros: Tensor) -> list[Part]:
    """Layers with one step for each output channel that together are one with rows of weights.

    Args:
        whole: with weights and steps of all rows, (C_out G, C_in / G, ...) and (C_out G,).
        zeros: zero points of the rows, (C_out G,).

    Returns:
        A layer for each group of input channels; two and more where codes less their zero point
        need more than 8 bits. The first has the bias.
    """
    if whole.is_convolution:
        channels = len(whole.weight) * whole.weight.shape[1] * whole.groups // whole.shape[1]
    else:
        channels = len(whole.weight) * whole.weight.shape[1] // whole.shape[-1]
    groups = len(whole.weight) // channels
    numbers = whole.weight.to(torch.int32) - zeros.view(-1, *(1,) * (whole.weight.dim() - 1))
    made: list[Part] = []
    for k in range(groups):
        steps, left = whole.scale[k::groups].contiguous(), numbers[k::groups]
        taken = _channels(whole, k, groups)
        while not made or made[-1].channels is not taken or bool(left.any()):
            codes = left.clamp(-128, 127)
            shape = _shape(whole, groups)
            bias = None if made else whole.bias
            weight = codes.to(torch.int8).contiguous()
            part = replace(whole, weight=weight, scale=steps, bias=bias, shape=shape)
            made.append(Part(part, taken))
            left = left - codes
    return made


def _channels(whole: IntegerLayer, k: int, groups: int) -> Tensor | slice:
    """The input channels of group k."""
    if not whole.is_convolution or whole.groups == 1:
        size = whole.weight.shape[1]
        return slice(k * size, (k + 1) * size)
    # Each group of a convolution has groups of its own.
    each = torch.arange(whole.shape[1]).view(whole.groups, groups, -1)
    return each[:, k].flatten()


def _shape(whole: IntegerLayer, groups: int) -> tuple[int, ...]:
    """Of the input of a part."""
    if not whole.is_convolution:
        return (*whole.shape[:-1], whole.shape[-1] // groups)
    return (whole.shape[0], whole.shape[1] // groups, *whole.shape[2:])


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
