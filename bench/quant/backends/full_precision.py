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
from bench.core.errors import InputError, NotExecuted
from bench.core.floors import BFLOAT16, KERNELS
from bench.core.protocols import Calibration, Quantized
from bench.core.record import Host
from bench.core.scheme import Scheme

if TYPE_CHECKING:
    from torch import nn

    from bench.quant.layers import Layer

# Layers of full-precision networks by structure: checkpoints that differ in weights share them.
_LAYERS: dict[tuple[str, tuple[str, int, int, int]], tuple[Layer, ...]] = {}


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
        from bench.quant.layers import forget, layers
        from bench.quant.precisions import precision

        key = repr(denoiser.model), (precision(denoiser.model), *denoiser.shape)
        if key not in _LAYERS:
            _LAYERS[key] = layers(denoiser, scheme, calibrate.shape[0])
        operators = {layer.node: layer.operator for layer in _LAYERS[key]}
        coverage = measure(denoiser, _LAYERS[key], self.kernel, operators)
        coverage = replace(coverage, kernel=self._kernel(precision(denoiser.model)))
        size = sum(parameter.nbytes for parameter in denoiser.model.parameters())
        if self.execution:
            forget(denoiser)
            denoiser = replace(denoiser, model=_executed(denoiser, self.execution))
        held = sum(parameter.nbytes for parameter in denoiser.model.parameters())
        return Quantized(denoiser, replace(coverage, bytes_stored=size, bytes_memory=held))

    def _kernel(self, kind: str) -> str:
        """What executes a network of a type.

        Raises:
            NotExecuted: it would be no other execution.
        """
        if self.execution == BFLOAT16 and kind != "float32":
            raise NotExecuted(f"the network is in {kind} itself, and the floor is of float32")
        return self.kernel.replace("float32", kind)


def _executed(denoiser: Denoiser, name: str) -> nn.Module:
    import torch

    from bench.quant import executions

    model, spare = denoiser.model, denoiser.is_spare
    if name == BFLOAT16:
        # Of CPUs many compute it through float32, and then ten times as long.
        on_cpu = denoiser.device == "cpu"
        kind = executions.RoundedToBfloat16 if on_cpu else executions.Bfloat16
        return kind(model, spare).eval()
    if name == "batch":
        return executions.Halves(model).eval()
    if name == "threads":
        return executions.OtherThreads(model, 1 if torch.get_num_threads() > 1 else 2).eval()
    return executions.ChannelsLast(model, spare).eval()
