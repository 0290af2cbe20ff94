"""Backend `int8-openvino`: the quantized graph, compiled by OpenVINO's plugin for CPUs.

Neither torch nor OpenVINO is imported before a backend is called: refusals need neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.protocols import Calibration, Quantized
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends.int8 import refuses_floats
from bench.quant.methods.applying import refusal, switches
from bench.system.instructions import (
    AVX512,
    ONEDNN,
    X86_FEATURES,
    cap_of_onednn,
    caps,
    cpu,
    of_onednn,
)

# Caps of oneDNN that leave it less than what OpenVINO itself takes on a CPU with AVX-512: such a
# process crashed (OpenVINO 2026.4) unless OpenVINO's own variable said the same.
BELOW_AVX512 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")
OWN = "OV_CPU_MAX_ISA"


class Int8OpenVino:
    """OpenVINO on x86 CPUs, for weights and activations of 2 to 8 bits.

    Args:
        argument: "streams" to compute as many parts of a batch at the same time as there are
            threads, each with one of them; where these do not divide it, it is computed whole.
    """

    kernel, takes_methods = "int8 openvino", True

    def __init__(self, argument: str = "") -> None:
        if argument not in ("", "streams"):
            raise InputError(f"int8-openvino takes no argument but streams, not {argument!r}")
        self.streams = argument == "streams"
        # Rows of the two are told apart by this name.
        self.kernel = f"int8 openvino {argument}".rstrip()

    def refuses(self, scheme: Scheme, host: Host) -> str | None:
        """Refuse float operands, ranges that switch, other machines, and where OpenVINO is
        missing."""
        if host.device != "cpu" or of_onednn(host.isa) not in X86_FEATURES:
            return (
                f"int8-openvino needs an x86 CPU with AVX2, and this is {host.device} {host.isa}"
            )
        if reason := refuses_floats(scheme) or refusal(scheme):
            return reason
        if switches(scheme):
            return "int8-openvino takes no ranges that switch (tgroups): use int8-x86"
        if find_spec("openvino") is None:
            return "int8-openvino needs openvino: pip install openvino"
        cap, own = cap_of_onednn(host.isa), caps(host.isa).get(OWN)
        if cap in BELOW_AVX512 and cpu(host.isa) in AVX512 and own not in BELOW_AVX512:
            return (
                f"OpenVINO crashes under {ONEDNN[0]}={cap} on a CPU with AVX-512, unless "
                f"{OWN}={cap} is set as well"
            )
        return None

    def __call__(self, denoiser: Denoiser, scheme: Scheme, calibrate: Calibration) -> Quantized:
        """Quantize; the result takes inputs of the shape of `calibrate` only.

        Raises:
            NotExecuted: OpenVINO has no translation of an operation of the network.
            RuntimeError: no layer is computed in integers, or one disagrees with the simulation.
        """
        from bench.quant.at_batch import at_batch
        from bench.quant.coverage import measure
        from bench.quant.graph import calibration_of, inputs_of, layers_of, step_bytes, told_by
        from bench.quant.kernels import openvino, watched
        from bench.quant.kernels.handing_over import hand_over
        from bench.quant.simulate import simulate
        from bench.quant.stored import quantized, stored_bytes

        graph = quantized(denoiser, scheme, calibrate)
        handed = hand_over(graph, openvino.cut)
        seen = openvino.Compiled(openvino.convert(handed), handed.inputs)
        count, part = self._parts(handed.shapes), handed
        if count > 1:
            smaller = at_batch(graph, denoiser, calibrate.shape[0] // count)
            part = hand_over(smaller, openvino.cut)
        execution = openvino.execution(part, openvino.convert(part), count)
        layers, operators = openvino.computed(layers_of(graph), handed, execution)
        agreement = watched.measure(
            execution, seen.outputs, simulate(graph), handed, inputs_of(graph), operators
        )
        coverage = measure(denoiser, layers, self.kernel, operators, step_bytes(graph))
        floats = 4 * (coverage.params - coverage.params_quantized)
        coverage = replace(
            coverage,
            bytes_stored=stored_bytes(graph),
            bytes_memory=sum(handed.values[name].nbytes for name in handed.steps) + floats,
            agreement=agreement,
            told=told_by(graph),
        )
        return Quantized(replace(denoiser, model=execution), coverage, calibration_of(graph))

    def _parts(self, shapes: Sequence[Sequence[int]]) -> int:
        """Into how many parts a batch is cut, of inputs of these shapes."""
        import torch

        threads, (batch, *others) = torch.get_num_threads(), [shape[0] for shape in shapes]
        is_cut = self.streams and batch % threads == 0 and set(others) <= {batch}
        return threads if is_cut else 1
