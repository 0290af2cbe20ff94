"""The machine and the versions that change arithmetic, found without importing torch on a CPU."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from bench import devices
from bench.record import Host

# From the weakest to the strongest; the last one present decides which int8 kernels run.
X86_FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")
VNNI = X86_FEATURES[2:]
LIBRARIES = ("torch", "torchao", "diffusers", "torchvision", "numpy", "scipy")


def instruction_set() -> str:
    """The strongest instruction set that decides the arithmetic, for example "avx2"."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return platform.machine()
    found = [feature for feature in X86_FEATURES if feature in flags]
    return found[-1] if found else platform.machine()


def threads() -> int:
    """Threads that a run uses: `OMP_NUM_THREADS`, else the cores this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries whose arithmetic we use."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def fingerprint(device: str = devices.CPU) -> Host:
    """This machine, with the device that evaluates networks (a name from `devices.find`)."""
    versions = {"python": platform.python_version(), **library_versions()}
    isa = instruction_set()
    if device != devices.CPU:
        isa, more = devices.accelerator(device)
        versions |= more
    return Host(platform.node(), device, isa, threads(), versions)


def code_hash(names: Iterable[str]) -> str:
    """SHA-256 of the sources of bench's modules and packages, relative to the package folder.

    A cached result is only as good as the code that made it: a change of one of these files makes
    new keys.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for name in names:
        path = root / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
