"""The one quantized graph: a network with a scheme written into it as quantize/dequantize nodes.

Every execution (simulation, integer kernels) is a rewriting of this graph, so all share its
constants. A weight w of output channel c becomes s_c clamp(round(w / s_c), -2^(b-1), 2^(b-1) - 1)
with s_c = max|w| / ((2^b - 1) / 2), unless a method gives it other rows (`weight_rows`); an
activation a becomes s (clamp(round(a / s) + z, 0, 2^b - 1) - z) with one scale s and zero point z
for each tensor, fixed by calibration; a method may give it one of each for every group of
timesteps (`bench.quant.switched`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant.allocation import allocated
from bench.quant.layers import Layer, copied, exported, plan
from bench.quant.observers import ACTIVATIONS, Observed, WidestObserver
from bench.quant.weight_rows import constant, constants, rows_node, size
from bench.system.quiet import quiet_import

with quiet_import():
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import (
        QuantizationAnnotation,
        QuantizationSpec,
        Quantizer,
    )

LAYERS, INPUTS, CALIBRATION = "bench_layers", "bench_inputs", "bench_calibration"
FLOAT, OBSERVER, TOLD = "bench_float", "bench_observer", "bench_told"
decomposed = torch.ops.quantized_decomposed
QUANTIZE = decomposed.quantize_per_tensor.default
DEQUANTIZE = decomposed.dequantize_per_tensor.default
# The same with a scale and a zero point that the graph computes.
QUANTIZE_SWITCHED = decomposed.quantize_per_tensor.tensor
DEQUANTIZE_SWITCHED = decomposed.dequantize_per_tensor.tensor
QUANTIZES = (QUANTIZE, QUANTIZE_SWITCHED)
DEQUANTIZES = (DEQUANTIZE, DEQUANTIZE_SWITCHED)


class LayerQuantizer(Quantizer):
    """Annotates each layer with its own bits.

    Args:
        layers: from `plan`.
        observer: "histogram" or "minmax".
    """

    def __init__(self, layers: Sequence[Layer], observer: str) -> None:
        super().__init__()
        self.layers = {layer.node: layer for layer in layers if layer.quantized}
        self.observer = ACTIVATIONS[observer]

    def annotate(self, model: GraphModule) -> GraphModule:
        """Mark the inputs of all layers."""
        for node in model.graph.nodes:
            if layer := self.layers.get(node.name):
                specs = (self._activation(layer.act_bits), _weight(layer.weight_bits))
                pairs = zip(node.args[:2], specs, strict=True)
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    input_qspec_map={node: spec for node, spec in pairs if spec is not None},
                    _annotated=True,
                )
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to do: `quantize_graph` inspects the converted graph."""

    def _activation(self, bits: int) -> QuantizationSpec | None:
        if bits in FLOAT_BITS:
            return None
        return QuantizationSpec(
            dtype=torch.uint8,
            observer_or_fake_quant_ctr=self.observer,
            quant_min=0,
            quant_max=2**bits - 1,
            qscheme=torch.per_tensor_affine,
        )


def _weight(bits: int) -> QuantizationSpec | None:
    if bits in FLOAT_BITS:
        return None
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=WidestObserver,
        quant_min=-(2 ** (bits - 1)),
        quant_max=2 ** (bits - 1) - 1,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )


def quantize_graph(
    denoiser: Denoiser, scheme: Scheme, calibrate: Calibration, full: GraphModule | None = None
) -> GraphModule:
    """Write a scheme into a network. Equal arguments give bit-identical constants.

    Args:
        denoiser: its model is not changed.
        scheme: not a float scheme.
        calibrate: evaluates the network that observes the ranges; its shape becomes the fixed
            shape of the graph.
        full: the network's graph in full precision as methods prepared it; it is not changed.
            None for the network as it is.

    Returns:
        The graph; weights of quantized layers are int8 constants. `layers_of` tells its layers.

    Raises:
        InputError: the scheme does not fit the network.
        RuntimeError: a layer was not quantized as planned, or nothing was observed.
    """
    full = exported(denoiser, calibrate.shape[0]) if full is None else full
    layers = plan(full, scheme, allocated(denoiser, scheme, calibrate, full))
    with torch.inference_mode(False), torch.no_grad():
        observer = prepare_pt2e(copied(full), LayerQuantizer(layers, scheme.observer))
        observed = Observed(observer)
        digest = calibrate(observed)
        if not observed.calls:
            raise RuntimeError("calibration did not evaluate the network")
        converted = convert_pt2e(observer)
    verify(converted, layers)
    converted.meta[LAYERS] = layers
    converted.meta[INPUTS] = [tuple(inputs) for inputs in calibrate.kept]
    converted.meta[CALIBRATION] = digest
    converted.meta[FLOAT] = full
    converted.meta[OBSERVER] = scheme.observer
    return converted


def layers_of(graph: GraphModule) -> tuple[Layer, ...]:
    """The layers of a graph that `quantize_graph` made, in execution order."""
    return graph.meta[LAYERS]


def float_of(graph: GraphModule) -> GraphModule:
    """The graph in full precision that a quantized one was made of, with the same names of nodes;
    it shares the network's parameters but for those that methods prepared."""
    return graph.meta[FLOAT]


def inputs_of(graph: GraphModule) -> list[tuple[Tensor, ...]]:
    """A few network inputs of the calibration, from its start, its middle and near its end."""
    return graph.meta[INPUTS]


def calibration_of(graph: GraphModule) -> str:
    """SHA-256 of all network inputs of the calibration."""
    return graph.meta[CALIBRATION]


def step_bytes(graph: GraphModule) -> dict[str, int]:
    """Bytes of the steps and zero points of the layers with rounded weights, by their names."""
    nodes = {node.name: node for node in graph.graph.nodes}
    sizes = {}
    for layer in layers_of(graph):
        if rows_node(nodes[layer.node].args[1]):
            codes, _, zeros = constants(graph, nodes[layer.node])
            sizes[layer.name] = size(codes, zeros)
    return sizes


def ranges_of(graph: GraphModule, node: Node) -> Tensor:
    """The scale and the zero point that a node dequantizes an activation with, float64 (1, 2); of
    ranges that switch those of all groups, (N, 2).

    Raises:
        RuntimeError: they are computed, and not chosen out of constants.
    """
    values = node.args[1:3]
    if not any(isinstance(value, Node) for value in values):
        return torch.tensor([values], dtype=torch.float64)
    columns = [value.args[0] for value in values if isinstance(value, Node) and value.args]
    if len(columns) != 2 or not all(isinstance(c, Node) and c.op == "get_attr" for c in columns):
        raise RuntimeError(f"the range of {node.name} is computed, not stored")
    return torch.stack([constant(graph, column).double().cpu() for column in columns], 1)  # type: ignore[arg-type]


def told_by(graph: GraphModule) -> dict[str, str]:
    """What the methods that made a graph told of their work, by their names."""
    return graph.meta.get(TOLD, {})


def tell(graph: GraphModule, text: str) -> None:
    """Say of a method's work what a reader of the run should know; it stands in the run."""
    graph.meta[TOLD] = text


def put(graph: GraphModule, name: str, value: Tensor) -> None:
    """Put another tensor in the place of a parameter or buffer, which the network shares."""
    owner, _, last = name.rpartition(".")
    module = graph.get_submodule(owner)
    delattr(module, last)
    module.register_buffer(last, value)


def verify(graph: GraphModule, layers: Sequence[Layer]) -> None:
    """Hold the converted graph against the plan, layer by layer.

    Raises:
        RuntimeError: naming the first layer that differs.
    """
    nodes = {node.name: node for node in graph.graph.nodes}
    for layer in layers:
        node = nodes.get(layer.node)
        if node is None:
            raise RuntimeError(f"layer {layer.name} vanished from the quantized graph")
        if layer.weights == 0:
            continue
        executed = input_bits(node.args[1]), input_bits(node.args[0])
        planned = tuple(
            32 if bits in FLOAT_BITS else bits for bits in (layer.weight_bits, layer.act_bits)
        )
        if executed != planned:
            raise RuntimeError(
                f"layer {layer.name} should run at w{planned[0]}a{planned[1]}, but the quantizer "
                f"made it w{executed[0]}a{executed[1]}"
            )
        if executed[1] != 32 and not bool(ranges_of(graph, node.args[0]).isfinite().all()):
            raise RuntimeError(f"layer {layer.name} has no finite range: check its weights")


def input_bits(node: Node) -> int:
    """Bits of a layer's input or weight in a converted graph: 32 unless it is dequantized."""
    arguments: tuple[Any, ...] = node.args
    if node.target in DEQUANTIZES:
        low, high = arguments[3:5]
    elif rows := rows_node(node):
        low, high = rows.args[4:6]
    else:
        return 32
    return (high - low + 1).bit_length() - 1
