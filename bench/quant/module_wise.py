"""Simulation without a graph: the modules of a network round their weights and their inputs.

With the observers of the one graph (`bench.quant.graph`), so a module that is executed once gets
the constants that it has there; one that is executed several times has one range for all of them.
What is no module stays in float, which the coverage says. Of a network in bfloat16 or float16
steps and codes are computed in float32, and what they stand for is rounded to that type.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.errors import NotExecuted
from bench.core.protocols import Calibration, Quantized
from bench.core.scheme import FLOAT_BITS, Scheme
from bench.quant import module_layers
from bench.quant.coverage import measure
from bench.quant.layers import Layer
from bench.quant.observers import Observed, WidestObserver, range_observer
from bench.quant.precisions import number_bytes
from bench.quant.simulate import fake_quantized

TOLD = "simulation"
_decomposed = torch.ops.quantized_decomposed


def simulated(
    denoiser: Denoiser, scheme: Scheme, calibrate: Calibration, reason: str
) -> Quantized:
    """Quantize a copy of a network, or a spare network itself, module by module.

    Args:
        denoiser: in full precision; its weights are not changed unless it is spare.
        scheme: not a float scheme.
        calibrate: evaluates the network that observes the ranges.
        reason: why there is no graph.

    Raises:
        NotExecuted: the scheme has methods or a budget, which need the graph.
        RuntimeError: calibration evaluated nothing.
    """
    if scheme.methods or scheme.budget:
        what = f"methods ({', '.join(scheme.method_names)})" if scheme.methods else "a budget"
        raise NotExecuted(f"{reason}: {what} of {scheme} need its graph")
    layers = module_layers.layers(denoiser, scheme, calibrate.shape[0])
    by_name = {layer.name: layer for layer in layers if layer.quantized}
    with torch.inference_mode(False), torch.no_grad():
        model = denoiser.model if denoiser.is_spare else copy.deepcopy(denoiser.model).eval()
        inputs = _observed(model, by_name, scheme.observer)
        observed = Observed(model)
        digest = calibrate(observed)
        if not observed.calls:
            raise RuntimeError("calibration did not evaluate the network")
        for each in inputs:
            each.settle()
        _round_weights(model, by_name)
    operators = {layer.node: layer.operator for layer in layers}
    coverage = measure(denoiser, layers, "simulated", operators)
    told = f"module by module, as {reason}; one range for all executions of a module"
    coverage = replace(
        coverage,
        bytes_stored=coverage.bytes,
        bytes_memory=number_bytes(denoiser.model) * coverage.params,
        told={TOLD: told},
    )
    return Quantized(replace(denoiser, model=model), coverage, digest)


class Input:
    """The input of a module: observed first, then rounded.

    Args:
        observer: "histogram" or "minmax".
        bits: of the codes.
    """

    def __init__(self, observer: str, bits: int) -> None:
        self.observer: Any = range_observer(observer, bits)
        self.most = 2**bits - 1
        self.scale, self.zero = 0.0, 0
        self.is_settled = False

    def settle(self) -> None:
        """Take the range that was observed."""
        scale, zero = self.observer.calculate_qparams()
        self.scale, self.zero, self.is_settled = float(scale), int(zero), True

    def __call__(
        self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """What the module is called with in their place, None for the same."""
        x = arguments[0] if arguments else named["input"]
        if not self.is_settled:
            self.observer.to(x.device)(x.float())
            return None
        x = fake_quantized(x.float(), self.scale, self.zero, 0, self.most).to(x.dtype)
        return ((x, *arguments[1:]), named) if arguments else (arguments, {**named, "input": x})


def _observed(model: nn.Module, layers: Mapping[str, Layer], observer: str) -> list[Input]:
    inputs = []
    for name, layer in layers.items():
        if layer.act_bits not in FLOAT_BITS:
            inputs.append(Input(observer, layer.act_bits))
            module = model.get_submodule(name)
            module.register_forward_pre_hook(inputs[-1], with_kwargs=True)
    return inputs


def _round_weights(model: nn.Module, layers: Mapping[str, Layer]) -> None:
    """Round weights by output channel, with the steps and operators of the one graph."""
    for name, layer in layers.items():
        if layer.weight_bits in FLOAT_BITS:
            continue
        weight = cast("nn.Linear", model.get_submodule(name)).weight
        low, high = -(2 ** (layer.weight_bits - 1)), 2 ** (layer.weight_bits - 1) - 1
        observer = WidestObserver(
            dtype=torch.int8,
            quant_min=low,
            quant_max=high,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
        ).to(weight.device)
        own = weight.detach().float()
        observer(own)
        steps, zeros = observer.calculate_qparams()
        codes = _decomposed.quantize_per_channel(own, steps, zeros, 0, low, high, torch.int8)
        weight.copy_(
            _decomposed.dequantize_per_channel(codes, steps, zeros, 0, low, high, torch.int8)
        )
