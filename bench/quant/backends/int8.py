"""The backends that lower the quantized graph to integer kernels of this machine.

Torch is imported when a backend is called, not before: refusals need none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration, Quantized
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.methods.applying import refusal, switches
from bench.system.instructions import X86_FEATURES, of_onednn

if TYPE_CHECKING:
    from bench.quant.kernels.integer_layer import IntegerLayer, Kernel


class Int8X86:
    """oneDNN on x86 CPUs, for weights and activations of 2 to 8 bits.

    Args:
        argument: "compiled" to compile what is between the kernels, for a minute or more; it
            pays for very many images.
    """

    kernel, takes_methods = "int8", True

    def __init__(self, argument: str = "") -> None:
        if argument not in ("", "compiled"):
            raise InputError(f"int8-x86 takes no argument but compiled, not {argument!r}")
        self.compiled = argument == "compiled"
        self.kernel = "int8 compiled" if self.compiled else "int8"

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse float operands, other machines, and methods that have nothing to do."""
        if host.device != "cpu" or of_onednn(host.isa) not in X86_FEATURES:
            return f"int8-x86 needs an x86 CPU with AVX2, and this is {host.device} {host.isa}"
        if self.compiled and switches(scheme):
            return "int8-x86:compiled takes no ranges that switch (tgroups): use int8-x86"
        return refuses_floats(scheme) or refusal(scheme)

    def __call__(self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> Quantized:
        """Quantize; the result takes inputs of the shape of `calibrate` only.

        Raises:
            RuntimeError: a layer has no kernel, or one that disagrees with the simulation.
        """
        from bench.quant.kernels.onednn import kernel

        quantized = _lowered(denoiser, scheme, calibrate, kernel)
        return _compiled(quantized, self.kernel) if self.compiled else quantized


class Int8Cuda:
    """int8 matrix products on an NVIDIA GPU, for weights and activations of 2 to 8 bits."""

    kernel, takes_methods = "int8", True

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse float operands, other devices, and methods that have nothing to do."""
        if not host.device.startswith("cuda"):
            return f"int8-cuda needs an NVIDIA GPU, and this run is on {host.device}"
        return refuses_floats(scheme) or refusal(scheme)

    def __call__(self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> Quantized:
        """Quantize; the result takes inputs of the shape of `calibrate` only.

        Raises:
            RuntimeError: a layer has no kernel, or one that disagrees with the simulation.
        """
        from bench.quant.kernels.cublas import Product

        return _lowered(denoiser, scheme, calibrate, Product)


def refuses_floats(scheme: Scheme) -> str | None:
    """Why integer kernels cannot run a scheme, or None: it leaves an operand in float."""
    for bits, what in ((scheme.weight_bits, "weights"), (scheme.act_bits, "activations")):
        if bits > 8:
            return f"integer kernels need integer {what}, and {scheme} has float ones"
    return None


def _compiled(quantized: Quantized, kernel: str) -> Quantized:
    """The same kernels, with the operations between them fused."""
    from bench.quant.kernels.compiling import fused
    from bench.quant.rewrite import Execution

    execution = cast("Execution", quantized.denoiser.model)
    inputs = quantized.denoiser.example_inputs(execution.shapes[0][0])
    return replace(
        quantized,
        denoiser=replace(quantized.denoiser, model=fused(execution, inputs)),
        coverage=replace(quantized.coverage, kernel=kernel),
    )


def _lowered(
    denoiser: Denoiser,
    scheme: Scheme,
    calibrate: Calibration,
    choose: Callable[[IntegerLayer], Kernel],
) -> Quantized:
    """Quantize, lower, and hold the kernels against the simulation."""
    from bench.quant.coverage import measure
    from bench.quant.graph import calibration_of, layers_of, step_bytes, told_by
    from bench.quant.kernels import agreement
    from bench.quant.kernels.lowering import kernels_of, lower
    from bench.quant.rewrite import executed
    from bench.quant.simulate import simulate
    from bench.quant.stored import quantized, stored_bytes
    from bench.quant.switched import inputs_of_all_groups

    graph = quantized(denoiser, scheme, calibrate)
    execution = lower(graph, choose)
    coverage = measure(denoiser, layers_of(graph), "int8", executed(execution), step_bytes(graph))
    floats = 4 * (coverage.params - coverage.params_quantized)
    coverage = replace(
        coverage,
        bytes_stored=stored_bytes(graph),
        bytes_memory=sum(kernel.bytes for kernel in kernels_of(execution).values()) + floats,
        agreement=agreement.measure(execution, simulate(graph), inputs_of_all_groups(graph)),
        told=told_by(graph),
    )
    return Quantized(replace(denoiser, model=execution), coverage, calibration_of(graph))
