"""Backend `simulated`: quantization in float arithmetic, which every machine has.

Torch is imported when a backend is called, not before: refusals need none of it.
"""

from __future__ import annotations

from dataclasses import replace

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration, Quantized
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.methods.applying import refusal


class Simulated:
    """Runs the quantized graph in float arithmetic, with the constants of the integer kernels."""

    kernel, takes_methods = "simulated", True

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse float, which has nothing to simulate, and methods that have nothing to do."""
        if scheme.is_float:
            return f"{scheme} has nothing to simulate: use backend float"
        return refusal(scheme)

    def __call__(self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> Quantized:
        """Quantize; the result takes inputs of the shape of `calibrate` only. A network that has
        no graph is simulated module by module.

        Raises:
            NotExecuted: it has none, and the scheme needs one.
        """
        from bench.quant import module_wise
        from bench.quant.coverage import measure
        from bench.quant.graph import calibration_of, layers_of, step_bytes, told_by
        from bench.quant.layers import untraceable
        from bench.quant.rewrite import executed
        from bench.quant.simulate import simulate
        from bench.quant.stored import quantized, stored_bytes

        if reason := untraceable(denoiser, calibrate.shape[0]):
            return module_wise.simulated(denoiser, scheme, calibrate, reason)
        graph = quantized(denoiser, scheme, calibrate)
        simulation = simulate(graph)
        coverage = measure(
            denoiser, layers_of(graph), self.kernel, executed(simulation), step_bytes(graph)
        )
        # In memory its weights are floats, whatever the bits.
        size = 4 * coverage.params
        coverage = replace(coverage, bytes_stored=stored_bytes(graph), bytes_memory=size)
        coverage = replace(coverage, told=told_by(graph))
        return Quantized(replace(denoiser, model=simulation), coverage, calibration_of(graph))
