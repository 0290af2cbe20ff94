"""Backend `int8-openvino`: the quantized graph in the CPU kernels of OpenVINO.

Each range becomes a FakeQuantize node of 256 levels from s (0 - z) to s (255 - z), behind a clamp
where there are fewer codes, and weights become int8 constants that are multiplied by their steps:
the form in which OpenVINO's own tools write a quantized network. Its CPU plugin makes integer
kernels of what it can and leaves the rest in float, so which layers are computed in integers is
read from the graph that it executes.

Its kernels are those of a oneDNN of its own, and without VNNI they saturate as those of torch's do
(`bench.quant.kernels.onednn`). Whether they do is measured once, and such layers are handed over
in two halves.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import openvino
import torch
from openvino import opset14 as operations
from openvino.frontend import FrontEndManager, GeneralFailure, OpConversionFailure
from torch.fx import GraphModule

from bench.core.errors import NotExecuted
from bench.core.halves import IN_HALVES
from bench.quant.kernels.handing_over import Handed, Range
from bench.quant.kernels.integer_layer import IntegerLayer, Part, Reference
from bench.quant.kernels.onednn import may_saturate
from bench.quant.kernels.openvino_compiled import Compiled
from bench.quant.kernels.openvino_norm import with_channels_last
from bench.quant.kernels.openvino_traced import exported, traced
from bench.quant.layers import Layer
from bench.quant.rewrite import Execution
from bench.quant.tracing import cause
from bench.system.quiet import quiet_import, quiet_tracing

with quiet_import():
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

MULTIPLY = ("Convolution", "GroupConvolution", "MatMul")
LEVELS = 256
# Graphs of a structure: checkpoints that differ in their numbers share the converted one.
_CONVERTED: dict[Any, openvino.Model] = {}
_KEPT = 4


def convert(handed: Handed) -> openvino.Model:
    """OpenVINO's form of a graph, with its own numbers.

    Raises:
        NotExecuted: an operation of the network has no translation.
    """
    shapes = tuple((name, tuple(value.shape)) for name, value in handed.values.items())
    buffers = tuple(value.numpy().tobytes() for value in handed.graph.buffers())
    key = handed.graph.code, handed.shapes, shapes, buffers
    if key not in _CONVERTED:
        if len(_CONVERTED) >= _KEPT:
            _CONVERTED.pop(next(iter(_CONVERTED)))
        _CONVERTED[key] = _translated(handed)
    model = _CONVERTED[key].clone()
    _bind(model, handed)
    return model


def _translated(handed: Handed) -> openvino.Model:
    """With inputs in the place of all weights, and numbers in the place of all ranges."""
    pairs = zip(handed.shapes, handed.kinds, strict=True)
    examples = [torch.zeros(shape, dtype=kind) for shape, kind in pairs]
    examples += [value.float() for value in handed.values.values()]
    try:
        model = _decoded(traced(handed.graph, examples))
    except (OpConversionFailure, GeneralFailure):
        model = _converted(exported(handed.graph, examples))
    if handed.steps:
        # A network in full precision stays as OpenVINO has it, whose speed is what is asked for.
        with_channels_last(model)
    return model


def _converted(graph: GraphModule) -> openvino.Model:
    """As `_decoded`; NotExecuted names what has no translation."""
    try:
        return _decoded(graph)
    except (OpConversionFailure, GeneralFailure) as error:
        # A log of many lines, which ends with what is missing.
        said = " ".join(str(error).partition("Summary:")[2].split()) or cause(error)
        raise NotExecuted(f"OpenVINO cannot convert the network ({said})") from None


def _decoded(graph: GraphModule) -> openvino.Model:
    """OpenVINO's form of a graph of simple operations."""
    with torch.inference_mode(False), torch.no_grad(), quiet_tracing():
        decoder = TorchFXPythonDecoder(graph, dynamic_shapes=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    return frontend.convert(frontend.load(decoder))


def _bind(model: openvino.Model, handed: Handed) -> None:
    """Put the numbers of a graph in their places."""
    layers = {name: node for node, names in handed.weights.items() for name in names}
    for parameter in model.get_parameters():
        name = parameter.get_friendly_name()
        if name not in handed.values:
            continue
        if name in layers:
            _consumer(parameter).set_friendly_name(name)
        made = _constant(handed, name)
        for target in parameter.output(0).get_target_inputs():
            target.replace_source_output(made.output(0))
        model.remove_parameter(parameter)
    for node in model.get_ops():
        if node.get_type_name() == "FakeQuantize":
            _limit(node, handed.ranges[_number(node)])
    model.validate_nodes_and_infer_types()


def _constant(handed: Handed, name: str) -> Any:
    value = handed.values[name]
    if name not in handed.steps:
        return operations.constant(value.numpy())
    codes = operations.convert(operations.constant(value.numpy()), openvino.Type.f32)
    tail = (1,) * (value.dim() - 1)
    return operations.multiply(
        codes, operations.constant(handed.steps[name].view(-1, *tail).numpy())
    )


def _consumer(parameter: Any) -> Any:
    """The node that multiplies by a weight, behind reshaping."""
    nodes = [parameter]
    while (node := nodes.pop(0)).get_type_name() not in MULTIPLY:
        nodes += [target.get_node() for target in node.output(0).get_target_inputs()]
    return node


def _number(node: Any) -> int:
    """The number of the range that a node stands for: the step that it was given, less one."""
    end = float(node.input_value(2).get_node().data)
    return round(end / (int(node.get_attributes()["levels"]) - 1)) - 1


def _limit(node: Any, limits: Range) -> None:
    """Give a node its range. Integer kernels take 256 codes and no other number of them, so a
    range of fewer is cut off before it is rounded."""
    low, high, end = (
        np.float32(limits.scale * (code - limits.zero)) for code in (0, limits.high, LEVELS - 1)
    )
    x = node.input_value(0)
    if limits.high < LEVELS - 1:
        x = operations.clamp(x, float(low), float(high)).output(0)
    ends = [operations.constant(value) for value in (low, end, low, end)]
    made = operations.fake_quantize(x, *ends, LEVELS)
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(made.output(0))


def execution(handed: Handed, model: openvino.Model, streams: int = 1) -> Execution:
    """A converted model as a network, without what is watched.

    Args:
        handed: what the model was converted from.
        model: it loses all outputs but the prediction.
        streams: parts of a batch, of which the model takes one, that are computed at a time.
    """
    for result in model.get_results()[1:]:
        model.remove_result(result)
    compiled = Compiled(model, handed.inputs, streams)
    shapes = [(streams * batch, *rest) for batch, *rest in handed.shapes]
    return Execution(cast("GraphModule", compiled), shapes).eval()


def computed(
    layers: Sequence[Layer], handed: Handed, made: Execution
) -> tuple[list[Layer], dict[str, str]]:
    """What computes the layers, read from the graph that OpenVINO executes.

    Args:
        layers: of the quantized graph.
        handed: what was executed.
        made: from `execution`.

    Returns:
        The layers, those that it computes in float as float ones with this reason, and by their
        nodes the kernels.

    Raises:
        RuntimeError: it computes none of them in integers.
    """
    known = cast("Any", made.graph).operators()
    found, kernels = [], {}
    for layer in layers:
        names = handed.weights.get(layer.node, [])
        pairs = [known.get(name, ("openvino", False)) for name in names] or [("openvino", False)]
        times = f", {len(names)} times" if len(names) > 1 else ""
        if layer.node in handed.halved:
            times = f", {IN_HALVES}" if len(names) == 2 else f"{times}, some {IN_HALVES}"
        kernels[layer.node] = pairs[0][0] + times
        if layer.quantized and not all(integers for _, integers in pairs):
            reason = "OpenVINO computes it in float"
            layer = replace(layer, weight_bits=32, act_bits=32, reason=reason)
        found.append(layer)
    if not any(layer.quantized for layer in found):
        raise RuntimeError("OpenVINO computes no layer of this network in integers")
    return found, kernels


def cut(part: Part) -> Sequence[Part]:
    """A layer as this machine computes it exactly: itself, or its two halves."""
    return halves(part) if may_saturate(part.layer) and saturates() else [part]


def halves(part: Part) -> Sequence[Part]:
    """Two layers with weights of at most 64, whose sum is a layer."""
    layer = part.layer
    first = layer.weight >> 1
    rest = replace(layer, weight=layer.weight - first, bias=None)
    return [Part(replace(layer, weight=first), part.channels), Part(rest, part.channels)]


@functools.cache
def saturates() -> bool:
    """Whether the kernels of this machine saturate, measured with the largest codes."""
    codes = torch.full((1, 64, 4, 4), 255, dtype=torch.uint8)
    weight, shape = torch.full((16, 64, 3, 3), 127, dtype=torch.int8), tuple(codes.shape)
    layer = IntegerLayer("measured", shape, weight, torch.ones(16), 1.0, 0, 255, None)
    x = operations.parameter(shape, openvino.Type.f32, name="x")
    limits = [operations.constant(np.float32(end)) for end in (0, 255, 0, 255)]
    weights = operations.convert(operations.constant(weight.numpy()), openvino.Type.f32)
    product = operations.convolution(
        operations.fake_quantize(x, *limits, 256),
        operations.multiply(weights, operations.constant(np.ones((16, 1, 1, 1), np.float32))),
        *([1, 1], [0, 0], [0, 0], [1, 1]),
        name="product",
    )
    compiled = Compiled(openvino.Model([product], [x]), ["x"])
    if not compiled.operators()["product"][1]:
        raise RuntimeError("OpenVINO has no int8 convolution on this machine")
    return not torch.equal(compiled(codes.float()), Reference(layer)(codes))
