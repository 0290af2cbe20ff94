"""Backend `float`: the network as it is, or the same function executed in another way.

`float` is the reference that everything is held against. `float:bf16`, `float:batch`,
`float:threads` and `float:layout` measure the noise floor: what a change that everyone accepts
does to the images (`bench.evaluation.floors`).

Torch is imported when a backend is called, not before: refusals need none of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.floors import KERNELS
from bench.core.protocols import Calibration, Quantized
from bench.core.record import Host
from bench.core.scheme import Scheme

if TYPE_CHECKING:
    from torch import nn

    from bench.quant.layers import Layer

# Layers of full-precision networks by structure: checkpoints that differ in weights share them.
_LAYERS: dict[tuple[str, tuple[int, int, int]], tuple[Layer, ...]] = {}


class FullPrecision:
    """Runs the network as it is, or in another execution.

    Args:
        argument: "" for the network as it is, or a name of `bench.core.floors.KERNELS`.
    """

    kernel, takes_methods = "none", False

    def __init__(self, argument: str = "") -> None:
        if argument and argument not in KERNELS:
            names = ", ".join(KERNELS)
            raise InputError(f"backend float takes {names} as argument, not {argument!r}")
        self.execution = argument
        self.kernel = KERNELS[argument] if argument else "none"

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse everything but float, and what would be no other execution on this machine."""
        if not scheme.is_float:
            return f"full precision cannot run {scheme}"
        if self.execution == "threads" and host.device != "cpu":
            return f"the number of threads decides nothing on {host.device}"
        return None

    def __call__(self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> Quantized:
        """Return the denoiser itself, or one that executes it in another way, and what it
        computes. There is nothing to calibrate."""
        from bench.quant.coverage import measure
        from bench.quant.layers import layers

        key = repr(denoiser.model), denoiser.shape
        if key not in _LAYERS:
            _LAYERS[key] = layers(denoiser, scheme, calibrate.shape[0])
        operators = {layer.node: layer.operator for layer in _LAYERS[key]}
        coverage = measure(denoiser, _LAYERS[key], self.kernel, operators)
        size = sum(parameter.nbytes for parameter in denoiser.model.parameters())
        if self.execution:
            model = _executed(denoiser.model, self.execution, denoiser.device)
            denoiser = replace(denoiser, model=model)
        held = sum(parameter.nbytes for parameter in denoiser.model.parameters())
        return Quantized(denoiser, replace(coverage, bytes_stored=size, bytes_memory=held))


def _executed(model: nn.Module, name: str, device: str) -> nn.Module:
    import torch

    from bench.quant import executions

    if name == "bf16":
        # Of CPUs many compute it through float32, and then ten times as long.
        on_cpu = device == "cpu"
        kind = executions.RoundedToBfloat16 if on_cpu else executions.Bfloat16
        return kind(model).eval()
    if name == "batch":
        return executions.Halves(model).eval()
    if name == "threads":
        return executions.OtherThreads(model, 1 if torch.get_num_threads() > 1 else 2).eval()
    return executions.ChannelsLast(model).eval()
