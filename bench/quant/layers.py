"""Which layers a network has, what each costs, and at which precision a scheme runs it.

Read from the exported graph, so a layer counts as often as it really executes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bench.core.allocation import Share
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError, NotExecuted
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant import budget, one_trace
from bench.quant.operators import (
    CONVOLUTIONS,
    COUNTED,
    OTHER_LAYERS,
    QUANTIZABLE,
    TRANSPOSED,
    aten,
    batch_of,
    multiplications,
    shape_of,
    value_of,
)
from bench.quant.precisions import require_float32
from bench.quant.tracing import cause
from bench.system import disk
from bench.system.quiet import quiet_tracing

# What the metadata of a node says where a method added it and wants it in float: the reason.
KEPT = "bench_kept"
_PART = re.compile(r"\.part\d+$")
# The graphs of a network, or why it has none.
_EXPORTED: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], GraphModule | str]] = (
    WeakKeyDictionary()
)
_TRACES = one_trace.Traces()


@dataclass(frozen=True)
class Layer:
    """One execution of a convolution, a linear layer or a matrix product.

    Attributes:
        name: path of its module, relative to the denoiser's model.
        node: its node in the graph.
        macs: multiply-accumulates for one image.
        weights, channels: weights and output channels, 0 for a product of two activations.
        weight_bits, act_bits: 32 for float.
        reason: why it stays in float, "" where it does not or where the scheme says so for all.
        operator: what computes it in float.
        added: whether a method added it to the network, with weights of its own.
    """

    name: str
    node: str
    macs: int
    weights: int
    channels: int
    weight_bits: int = 32
    act_bits: int = 32
    reason: str = ""
    operator: str = ""
    added: bool = False

    @property
    def quantized(self) -> bool:
        """Whether weights or activations are quantized."""
        return self.weight_bits not in FLOAT_BITS or self.act_bits not in FLOAT_BITS

    @property
    def bits(self) -> str:
        """Its precision, for example "w4a8"; "fp32" for float."""
        return f"w{self.weight_bits}a{self.act_bits}" if self.quantized else "fp32"


def export(model: nn.Module, *inputs: Tensor) -> GraphModule:
    """The graph of one evaluation in evaluation mode, at the fixed shapes of the inputs.

    Args:
        model: (inputs) -> tensor; it is not changed.
        inputs: what it is called with, (B, ...) each.

    Raises:
        NotExecuted: torch.export cannot trace it.
        RuntimeError: the graph has nested graphs, whose layers would be missed.
    """
    if any(module.training for module in model.modules()):
        model = copy.deepcopy(model).eval()
    with torch.inference_mode(False), torch.no_grad():
        try:
            with quiet_tracing():
                graph = torch.export.export(model, tuple(x.clone() for x in inputs)).module()
        # On code that it cannot trace it raises nearly anything.
        except Exception as error:
            if stop := disk.stops(error):
                raise stop from error
            raise NotExecuted(f"torch.export cannot trace the network ({cause(error)})") from None
    for node in graph.graph.nodes:
        if node.op == "get_attr" and "val" not in node.meta:
            raise RuntimeError(f"the network has control flow, {node.target}: cannot read it")
    return graph


def exported(denoiser: Denoiser, batch: int) -> GraphModule:
    """The graph of a denoiser's network for a batch of so many images, on its device.

    Tracing takes seconds, so each network's graphs are kept as long as it is, and one trace serves
    all networks of its structure; what is returned is a copy that may be changed, and shares the
    network's parameters.

    Raises:
        NotExecuted: torch.export cannot trace it, or it is not in float32.
    """
    require_float32(denoiser.model)
    inputs = denoiser.example_inputs(batch)
    kept = _EXPORTED.setdefault(denoiser.model, {})
    key = tuple((x.device, x.dtype, *x.shape) for x in inputs)
    if key not in kept:
        try:
            kept[key] = _TRACES.of(denoiser.model, key, lambda: export(denoiser.model, *inputs))
        except NotExecuted as error:
            kept[key] = str(error)
    graph = kept[key]
    if isinstance(graph, str):
        raise NotExecuted(graph)
    return copied(graph)


def forget(denoiser: Denoiser) -> None:
    """Drop the graphs of a denoiser's network, which hold its weights."""
    _EXPORTED.pop(denoiser.model, None)


def untraceable(denoiser: Denoiser, batch: int) -> str:
    """Why a denoiser's network has no graph, in a line; "" where it has one."""
    try:
        exported(denoiser, batch)
    except NotExecuted as error:
        return str(error)
    return ""


def copied(graph: GraphModule) -> GraphModule:
    """A copy of a graph that may be changed, and shares its parameters."""
    shared = {id(value): value for value in (*graph.parameters(), *graph.buffers())}
    return copy.deepcopy(graph, shared)


def plan(
    graph: GraphModule, scheme: Scheme, bits: Mapping[str, int] | None = None
) -> tuple[Layer, ...]:
    """All layers in execution order, with the bits at which the scheme runs them.

    Args:
        graph: of the network in full precision.
        scheme: any.
        bits: of the weights of each layer, by its name, where the scheme has a budget; without
            them each has the most that it may have.

    Raises:
        InputError: a skip glob matches no layer, nothing is left to quantize, or a budget cannot
            be kept.
    """
    nodes = [
        node for node in graph.graph.nodes if node.target in COUNTED and not _rearranges(node)
    ]
    convolutions = [n for n in nodes if n.target in CONVOLUTIONS and KEPT not in n.meta]
    edges = {convolutions[0], convolutions[-1]} if convolutions else set()
    layers = tuple(_layer(node, scheme, node in edges) for node in nodes)
    check_plan(layers, scheme)
    if scheme.budget:
        budget.check(shares(graph, scheme), scheme)
    return tuple(_with_bits(layer, bits) for layer in layers) if bits else layers


def check_plan(layers: Sequence[Layer], scheme: Scheme) -> None:
    """Refuse a scheme that does not fit the layers of a network.

    Raises:
        InputError: a skip glob matches no layer, or nothing is left to quantize.
    """
    if scheme.is_float:
        return
    for glob in scheme.skip:
        if not any(matches(layer.name, glob) for layer in layers):
            raise InputError(f"skip={glob} matches no layer of this network")
    if not any(layer.quantized for layer in layers):
        raise InputError(f"scheme {scheme} leaves every layer of this network in float")


def shares(graph: GraphModule, scheme: Scheme) -> tuple[Share, ...]:
    """The layers whose bits of weights a scheme with a budget leaves open."""
    return budget.shares(plan(graph, budget.narrowest(scheme)), scheme)


def _with_bits(layer: Layer, bits: Mapping[str, int]) -> Layer:
    if layer.weight_bits in FLOAT_BITS or not layer.weights:
        return layer
    return replace(layer, weight_bits=bits[layer.name])


def _rearranges(node: Node) -> bool:
    """Whether it is an einsum of one operand, which moves numbers and multiplies none."""
    return node.target is aten.einsum.default and len(node.args[1]) == 1  # type: ignore[arg-type]


def weight_of(node: Node) -> Node | None:
    """The node of a layer's stored weights; None where they are computed."""
    weight = node.args[1] if node.target in (*QUANTIZABLE, *OTHER_LAYERS, *TRANSPOSED) else None
    return weight if isinstance(weight, Node) and weight.op == "get_attr" else None


def operator_name(node: Node) -> str:
    """The operator of a node, for example "aten.conv2d"."""
    return str(getattr(node.target, "overloadpacket", node.target))


def _layer(node: Node, scheme: Scheme, edge: bool) -> Layer:
    weight = weight_of(node)
    name = _name(node, weight)
    weights = shape_of(weight).numel() if weight else 0
    # Transposed convolutions keep their output channels (of each group) in axis 1.
    channels = shape_of(weight)[1 if node.target in TRANSPOSED else 0] if weight else 0
    weight_bits, act_bits = scheme.layer_bits(edge)
    reason = "" if scheme.is_float else _reason(node, name, scheme)
    if edge and not reason and not scheme.is_float and scheme.edge_bits in FLOAT_BITS:
        reason = "skip-io"
    if reason:
        weight_bits = act_bits = 32
    macs = multiplications(node) // batch_of(node)
    bits = weight_bits, act_bits
    operator, added = operator_name(node), KEPT in node.meta
    return Layer(name, node.name, macs, weights, channels, *bits, reason, operator, added)


def _reason(node: Node, name: str, scheme: Scheme) -> str:
    for glob in scheme.skip:
        if matches(name, glob):
            return f"skip={glob}"
    if KEPT in node.meta:
        return str(node.meta[KEPT])
    if node.target not in (*QUANTIZABLE, *OTHER_LAYERS, *TRANSPOSED):
        return "product of two activations, as in attention"
    if node.target not in QUANTIZABLE:
        return f"{node.target.overloadpacket.__name__} is not supported"
    if weight_of(node) is None:
        return "weights are computed, not stored"
    types = {value_of(argument).dtype for argument in node.args[:2]}
    if types != {torch.float32}:
        return f"needs float32, has {', '.join(sorted(map(str, types)))}"
    return ""


def matches(name: str, glob: str) -> bool:
    """Whether a glob of a scheme means a layer; the wrapper's `unet.` or `network.` may be left
    out, and so may which part it is of a layer that a method split."""
    names = {name, name.removeprefix("unet."), name.removeprefix("network.")}
    names |= {_PART.sub("", text) for text in names}
    # Schemes are read in lower case.
    return any(fnmatchcase(text.lower(), glob.lower()) for text in names)


def _name(node: Node, weight: Node | None) -> str:
    if weight is not None and str(weight.target).endswith(".weight"):
        return str(weight.target).removesuffix(".weight")
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return stack[-1][0] if stack and stack[-1][0] else node.name


def layers(denoiser: Denoiser, scheme: Scheme, batch: int = 1) -> tuple[Layer, ...]:
    """The layers of a network under a scheme, for one image: those of its graph, or where it has
    none, those that one evaluation executes.

    Args:
        batch: size of the batch that the network is traced with; it changes no layer, and a graph
            of the same size serves the quantized cells too.

    Raises:
        InputError: the scheme does not fit the network.
    """
    try:
        graph = exported(denoiser, batch)
    except NotExecuted:
        from bench.quant import module_layers

        return module_layers.layers(denoiser, scheme, batch)
    return plan(graph, scheme)
