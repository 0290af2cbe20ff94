"""A quantized network at rest, so that all backends and all later runs share one calibration.

`weights.safetensors` is the whole network: for a quantized layer its packed weights and their
steps, for each of its executions the range of the input, or those of all groups of timesteps, and
a bias that a method gave it, and every other parameter in float32.
`inputs.safetensors` holds a few network inputs of the calibration, on which kernels are held
against the simulation. Both are rebuilt into the very graph that calibration and methods made; a
graph that a method changed so that they cannot be is not kept, and made anew by each backend.
"""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant import allocation, weight_rows
from bench.quant.biases import set_bias
from bench.quant.graph import (
    CALIBRATION,
    DEQUANTIZE,
    DEQUANTIZE_SWITCHED,
    FLOAT,
    INPUTS,
    LAYERS,
    OBSERVER,
    QUANTIZE,
    TOLD,
    calibration_of,
    float_of,
    inputs_of,
    layers_of,
    put,
    quantize_graph,
    ranges_of,
    told_by,
    verify,
)
from bench.quant.layers import Layer, copied, plan
from bench.quant.methods.applying import applied, prepared, prepares
from bench.quant.packing import pack, unpack
from bench.quant.released import release
from bench.quant.same_graphs import are_same
from bench.quant.switched import BOUNDARIES, Switch, SwitchedRanges, switch_of
from bench.quant.weight_rows import constant
from bench.system import artifacts, claims

WEIGHTS_FILE, INPUTS_FILE = "weights.safetensors", "inputs.safetensors"
STORED = "bench_stored"


def quantized(denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> GraphModule:
    """The quantized graph, from the folder where it is kept or else by calibration.

    Args:
        denoiser: its model is not changed; that of a spare one has no weights afterwards.
        scheme: not a float scheme.
        calibrate: calibrates, and says where the result is kept.

    Returns:
        As `quantize_graph`; `stored_bytes` tells its size.
    """
    graph = _found_or_made(denoiser, scheme, calibrate)
    if denoiser.is_spare:
        release(denoiser, graph)
    return graph


def _found_or_made(denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> GraphModule:
    """The quantized graph as it was kept, or made now."""
    place = calibrate.place
    if place is not None and (graph := _load(denoiser, scheme, calibrate, place)):
        return graph
    graph = applied(_calibrated(denoiser, scheme, calibrate), denoiser, scheme, calibrate)
    keep = place is not None and (not scheme.methods or _can_be_kept(graph, scheme))
    return _stored(graph, place if keep else None)


def _calibrated(denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> GraphModule:
    """The quantized graph before the methods of its scheme change it.

    Unless one of them changes the network before it is calibrated, or a budget decides its bits,
    it is that of the scheme without methods, and is taken from there and kept there.
    """
    if not scheme.methods or scheme.budget or prepares(scheme):
        full = prepared(denoiser, scheme, calibrate)
        return quantize_graph(denoiser, scheme, calibrate, full)
    plain, place = replace(scheme, methods=()), calibrate.plain
    # Of several processes one makes what all schemes of these bits start from.
    with nullcontext() if place is None else claims.claimed(place):
        if place is not None and (graph := _load(denoiser, plain, calibrate, place)):
            return graph
        return _stored(quantize_graph(denoiser, plain, calibrate), place)


def _stored(graph: GraphModule, place: Path | None) -> GraphModule:
    """The graph, which knows its size at rest, kept in a folder if there is one."""
    tensors = _tensors(graph)
    graph.meta[STORED] = sum(tensor.nbytes for tensor in tensors.values())
    if place is not None:
        calibration = {"calibration": calibration_of(graph), "told": json.dumps(told_by(graph))}
        inputs = save(_named(inputs_of(graph)), calibration)
        artifacts.write(place / INPUTS_FILE, _key(place, INPUTS_FILE), inputs)
        weights = save(tensors, calibration)
        artifacts.write(place / WEIGHTS_FILE, _key(place, WEIGHTS_FILE), weights)
    return graph


def _key(place: Path, name: str) -> str:
    """What binds a file to its digest: the key of its folder, and its name."""
    return f"{place.name} {name}"


def stored_bytes(graph: GraphModule) -> int:
    """Size of the network at rest."""
    return graph.meta[STORED]


def _tensors(graph: GraphModule) -> dict[str, Tensor]:
    """All that a quantized graph needs to be built again, by name."""
    nodes = {node.name: node for node in graph.graph.nodes}
    tensors: dict[str, Tensor] = {}
    taken: set[Node] = set()
    for layer in layers_of(graph):
        node = nodes[layer.node]
        if layer.weight_bits not in FLOAT_BITS and layer.weights:
            rows: Any = weight_rows.rows_node(node.args[1])
            taken |= {*rows.args[:3]}
            codes, steps, zeros = weight_rows.constants(graph, node)
            tensors[f"{layer.name}.codes"] = pack(codes, layer.weight_bits)
            tensors[f"{layer.name}.scale"] = steps.detach().clone()
            if bool(zeros.any()):
                tensors[f"{layer.name}.zero"] = zeros.to(torch.int8)
        if layer.act_bits not in FLOAT_BITS:
            ranges = ranges_of(graph, node.args[0])
            switched = node.args[0].target is DEQUANTIZE_SWITCHED
            tensors[f"{layer.node}.input"] = ranges if switched else ranges[0]
            taken |= {each.args[0] for each in node.args[0].args[1:3] if switched}
        for bias in node.args[2:3]:
            if isinstance(bias, Node) and bias.target == f"{layer.node}_bias":
                taken.add(bias)
                tensors[f"{layer.node}.bias"] = constant(graph, bias).detach().clone()
    if switch := switch_of(graph):
        tensors["switch.boundaries"] = switch.boundaries.detach().clone()
        tensors["switch.level"] = torch.tensor([switch.place, switch.modulus])
        taken |= {node for node in nodes.values() if node.target == BOUNDARIES}
    for node in nodes.values():
        if node.op == "get_attr" and node not in taken and node.users:
            # It has the same name in the network; a layer's codes take the place of its weights.
            tensors[f"float.{node.target}"] = constant(graph, node).detach().clone().contiguous()
    return tensors


def _can_be_kept(graph: GraphModule, scheme: Scheme) -> bool:
    """Whether what is built again from the tensors of a graph is that graph: written alike, or
    with all constants, and the outputs on inputs of the calibration, the same to the bit."""
    inputs, tensors = inputs_of(graph), _tensors(graph)
    bits = {layer.name: layer.weight_bits for layer in layers_of(graph)}
    again = _built(float_of(graph), scheme, tensors, bits if scheme.budget else {})
    if are_same(graph, again):
        return True
    others = _tensors(again)
    with torch.inference_mode():
        return (
            tensors.keys() == others.keys()
            and all(torch.equal(tensors[name], others[name]) for name in tensors)
            and all(torch.equal(graph(*tensors), again(*tensors)) for tensors in inputs)
        )


def _load(
    denoiser: Denoiser, scheme: Scheme, calibration: Calibration, place: Path
) -> GraphModule | None:
    """The graph that was kept, or None where there is none."""
    weights = artifacts.read(place / WEIGHTS_FILE, _key(place, WEIGHTS_FILE))
    kept_inputs = artifacts.read(place / INPUTS_FILE, _key(place, INPUTS_FILE))
    bits = allocation.kept(scheme, place)
    if weights is None or kept_inputs is None or (scheme.budget and not bits):
        return None
    tensors, inputs = load(weights), load(kept_inputs)
    graph = _built(prepared(denoiser, scheme, calibration), scheme, tensors, bits)
    device = _device(graph)
    graph.meta[STORED] = sum(tensor.nbytes for tensor in tensors.values())
    graph.meta[INPUTS] = _unnamed({name: tensor.to(device) for name, tensor in inputs.items()})
    said = _metadata(weights)
    graph.meta[CALIBRATION] = said["calibration"]
    graph.meta[TOLD] = json.loads(said.get("told", "{}"))
    graph.meta[OBSERVER] = scheme.observer
    return graph


def _built(
    full: GraphModule, scheme: Scheme, tensors: dict[str, Tensor], bits: Mapping[str, int]
) -> GraphModule:
    """The quantized graph of one in full precision with the constants that `_tensors` names, and
    with the bits of each layer under a budget."""
    graph = copied(full)
    device = _device(graph)
    layers = plan(graph, scheme, bits)
    with torch.inference_mode(False), torch.no_grad():
        _write(graph, layers, {name: tensor.to(device) for name, tensor in tensors.items()})
    verify(graph, layers)
    graph.meta[LAYERS], graph.meta[FLOAT] = layers, full
    return graph


def _metadata(weights: bytes) -> dict[str, str]:
    """The digest of the calibration, and what methods told, out of a file of weights."""
    length = int.from_bytes(weights[:8], "little")
    said: dict[str, str] = json.loads(weights[8 : 8 + length])["__metadata__"]
    return said


def _write(graph: GraphModule, layers: Sequence[Layer], tensors: dict[str, Tensor]) -> None:
    """Insert quantize and dequantize nodes, as the conversion after a calibration does."""
    nodes = {node.name: node for node in graph.graph.nodes}
    switched = _switched(graph, tensors)
    for layer in layers:
        if not layer.quantized:
            continue
        node = nodes[layer.node]
        x, weight, *rest = node.args
        with graph.graph.inserting_before(node):
            if layer.act_bits not in FLOAT_BITS and switched:
                x = switched.quantized(x, tensors[f"{layer.node}.input"], layer.act_bits)
            elif layer.act_bits not in FLOAT_BITS:
                scale, zero = tensors[f"{layer.node}.input"].tolist()
                limits = (scale, int(zero), 0, 2**layer.act_bits - 1, torch.uint8)
                codes = graph.graph.call_function(QUANTIZE, (x, *limits))
                x = graph.graph.call_function(DEQUANTIZE, (codes, *limits))
        node.args = (x, weight, *rest)
        if layer.weight_bits not in FLOAT_BITS:
            shape, half = weight.meta["val"].shape, 2 ** (layer.weight_bits - 1)
            rows = _rows(layer, tensors, shape)
            weight_rows.insert(graph, node, rows, (-half, half - 1), shape)
        if (bias := tensors.get(f"{layer.node}.bias")) is not None:
            set_bias(graph, node, bias)
    for node in nodes.values():
        value = tensors.get(f"float.{node.target}") if node.op == "get_attr" else None
        # It is the network's own unless a method changed it.
        if value is not None and not torch.equal(value, constant(graph, node)):
            put(graph, str(node.target), value)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _switched(graph: GraphModule, tensors: dict[str, Tensor]) -> SwitchedRanges | None:
    """What writes ranges of groups of timesteps; None where there is one range for all."""
    if "switch.level" not in tensors:
        return None
    place, modulus = tensors["switch.level"].tolist()
    return SwitchedRanges(graph, Switch(place, modulus, tensors["switch.boundaries"]))


def _rows(
    layer: Layer, tensors: dict[str, Tensor], shape: torch.Size
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, steps and zero points of a layer's weights of a shape."""
    steps = tensors[f"{layer.name}.scale"]
    zeros = tensors.get(f"{layer.name}.zero", torch.zeros_like(steps, dtype=torch.int64))
    within = shape[0] * shape[1] // len(steps)
    packed = tensors[f"{layer.name}.codes"]
    codes = unpack(packed, layer.weight_bits, (len(steps), within, *shape[2:]))
    return codes, steps.clone(), zeros.to(torch.int64)


def _named(inputs: Sequence[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """Tensor n of inputs k as "k n"."""
    return {
        f"{k} {n}": tensor.contiguous()
        for k, tensors in enumerate(inputs)
        for n, tensor in enumerate(tensors)
    }


def _unnamed(named: Mapping[str, Tensor]) -> list[tuple[Tensor, ...]]:
    """What `_named` has named."""
    places = [(int(k), int(n)) for k, n in map(str.split, named)]
    return [
        tuple(named[f"{k} {n}"] for k, n in group)
        for _, group in itertools.groupby(sorted(places), operator.itemgetter(0))
    ]


def _device(graph: GraphModule) -> torch.device:
    return next(n for n in graph.graph.nodes if n.op == "placeholder").meta["val"].device
