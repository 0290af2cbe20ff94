"""The machine and the library versions that change arithmetic; without torch on a CPU."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from bench.core.record import Host
from bench.system import devices
from bench.system.instructions import capped, instruction_set

LIBRARIES = ("torch", "torchao", "diffusers", "torchvision", "numpy", "scipy")


def threads() -> int:
    """Threads that a run uses: `OMP_NUM_THREADS`, else the cores this process may use."""
    return given_threads() or cores()


def given_threads() -> int | None:
    """`OMP_NUM_THREADS` where it is a number above 0, else None."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else None


def set_threads(count: int) -> None:
    """Make this process, and those that it starts, use so many threads from now on; torch, where
    it is loaded already, keeps those that it has."""
    os.environ["OMP_NUM_THREADS"] = str(count)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that the machine has, 0 where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries whose arithmetic we use."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def fingerprint(device: str = devices.CPU) -> Host:
    """This machine, with the device that evaluates networks (a name from `devices.find`)."""
    versions = {"python": platform.python_version(), **library_versions()}
    isa = instruction_set()
    if device != devices.CPU:
        kind, more = devices.accelerator(device)
        isa, versions = capped(kind), versions | more
    return Host(platform.node(), device, isa, threads(), versions)
