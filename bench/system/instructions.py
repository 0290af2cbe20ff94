"""The instructions that a CPU's kernels are made of, and the caps that keep libraries from some.

A library looks at the CPU and takes the kernels that fit it best, unless a variable of the
environment tells it to do with less. Kernels of another instruction set add in another order, and
without VNNI those of 8-bit integers saturate, so a cap changes bits as another CPU does. An
instruction set is therefore written as the strongest one of the CPU and the caps that are set, as
"avx2" or "avx512_vnni, ONEDNN_MAX_CPU_ISA=AVX512_CORE"; without caps it is one word.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

# From the weakest to the strongest; the last one that is present decides the int8 kernels.
X86_FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")
VNNI = X86_FEATURES[2:]
AVX512 = ("avx512f", "avx512_vnni", "amx_int8")

# Variables that change which kernels a library takes, and so the bits of what it computes, with
# the values that say what goes without saying.
_ALL = ("ALL", "DEFAULT")
CAPS: dict[str, tuple[str, ...]] = {
    # oneDNN, of torch and of OpenVINO; it reads either name, and the first one before the second.
    "ONEDNN_MAX_CPU_ISA": _ALL,
    "DNNL_MAX_CPU_ISA": _ALL,
    "ONEDNN_CPU_ISA_HINTS": ("NO_HINTS",),
    "DNNL_CPU_ISA_HINTS": ("NO_HINTS",),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("STRICT",),
    "DNNL_DEFAULT_FPMATH_MODE": ("STRICT",),
    # torch's own loops, and the libraries of its matrix products.
    "ATEN_CPU_CAPABILITY": (),
    "MKL_CBWR": (),
    "MKL_DISABLE_FAST_MM": (),
    "MKL_ENABLE_INSTRUCTIONS": (),
    "NVIDIA_TF32_OVERRIDE": (),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": (),
    # What OpenVINO takes beside its oneDNN.
    "OV_CPU_LEGACY_ATTN": (),
    "OV_CPU_MAX_ISA": (),
    # numpy, scipy, and the functions of the C library.
    "NPY_DISABLE_CPU_FEATURES": (),
    "NPY_ENABLE_CPU_FEATURES": (),
    "OPENBLAS_CORETYPE": (),
    "GLIBC_TUNABLES": (),
}
ONEDNN = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")

# What caps of oneDNN leave of `X86_FEATURES`; one that is not here leaves all.
LEFT: dict[str, tuple[str, ...]] = {
    "SSE41": (),
    "AVX": (),
    "AVX2": ("avx2",),
    "AVX2_VNNI": ("avx2", "avx_vnni"),
    "AVX2_VNNI_2": ("avx2", "avx_vnni"),
    "AVX512_CORE": ("avx2", "avx512f"),
    **dict.fromkeys(
        ("AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX10_1_512", "AVX512_CORE_FP16"),
        X86_FEATURES[:-1],
    ),
}


def instruction_set() -> str:
    """What decides the arithmetic of this CPU: its strongest instruction set, and the caps."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return capped(platform.machine())
    known = [feature for feature in X86_FEATURES if feature in flags]
    return capped(known[-1] if known else platform.machine())


def capped(kind: str) -> str:
    """A kind of CPU, or of another device, with the caps that are set."""
    found = ((name, _value(name)) for name in CAPS)
    return ", ".join([kind, *(f"{name}={value}" for name, value in found if value)])


def _value(name: str) -> str:
    """A variable in one spelling; "" where it changes nothing."""
    words = re.split(r"[\s,]+", os.environ.get(name, "").strip().upper())
    value = "+".join(words)
    # These tune memory as well, which changes no bit.
    if name == "GLIBC_TUNABLES" and "CPU" not in value:
        return ""
    return "" if value in CAPS[name] else value


def cpu(isa: str) -> str:
    """The instruction set of a CPU itself, whatever the caps."""
    return isa.partition(",")[0]


def caps(isa: str) -> dict[str, str]:
    """The caps of an instruction set, by their variables."""
    pairs = (text.partition("=") for text in isa.split(", ")[1:])
    return {name: value for name, _, value in pairs}


def cap_of_onednn(isa: str) -> str:
    """The cap of oneDNN in an instruction set, "" for none."""
    return next((caps(isa)[name] for name in ONEDNN if name in caps(isa)), "")


def of_onednn(isa: str) -> str:
    """The instruction set whose int8 kernels oneDNN takes: the strongest that its cap leaves, or
    "" where it leaves none of `X86_FEATURES`."""
    strongest = cpu(isa)
    left = LEFT.get(cap_of_onednn(isa))
    if left is None or strongest not in X86_FEATURES:
        return strongest
    # AVX-512 has VNNI of its own: a CPU that has this one need not have that of AVX2.
    has = X86_FEATURES[: X86_FEATURES.index(strongest) + 1]
    has = tuple(f for f in has if f != "avx_vnni" or strongest in ("avx_vnni", "amx_int8"))
    return ([feature for feature in has if feature in left] or [""])[-1]
