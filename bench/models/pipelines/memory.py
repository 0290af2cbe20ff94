"""Whether a machine's memory holds a pipeline, before anything of it is loaded.

In memory at once are the decoder and either the text encoders, while prompts are encoded, or the
network: as it is, or quantized, as it is loaded anew for each cell and quantized in place, layer
by layer. The one graph takes more: weights in float, as codes, and as they are executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import InputError, NotExecuted
from bench.models.pipelines.folder import DECODER, TEXT
from bench.system import host

# How often the one graph has the weights of its network in memory, at most: it was measured to be
# 2.3 times for `simulated`, 2.9 for `int8-x86` (tests/helpers/pipeline_peaks.py).
GRAPH = 3


def needed(sizes: Mapping[str, int], network: str, copies: int = 1) -> int:
    """Bytes that weights take at most, of components' sizes.

    Args:
        sizes: bytes by the name of the component.
        network: its name.
        copies: how often it is in memory.
    """
    encoding = sum(sizes.get(name, 0) for name in TEXT)
    return max(encoding, copies * sizes.get(network, 0)) + sizes.get(DECODER, 0)


def free() -> int:
    """Bytes of the machine's memory that are free, or that it has where it says no more; 0 where
    it says nothing."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    return host.memory()


def check(sizes: Mapping[str, int], network: str, where: Path) -> None:
    """Refuse a pipeline that the memory does not hold.

    Raises:
        InputError: it does not.
    """
    wanted, there = needed(sizes, network), free()
    if 0 < there < wanted:
        raise InputError(
            f"{where} needs about {wanted / 1e9:.1f} GB of memory (the weights of the {network} "
            f"or the text encoders, and the decoder), and {there / 1e9:.1f} GB are free"
        )


def check_encoders(sizes: Mapping[str, int]) -> None:
    """Refuse text encoders beside a network that is in memory, where they do not fit.

    Raises:
        NotExecuted: they do not.
    """
    wanted, there = sum(sizes.get(name, 0) for name in TEXT), free()
    if 0 < there < wanted:
        raise NotExecuted(
            f"the text encoders need about {wanted / 1e9:.1f} GB of memory beside the network, "
            f"and {there / 1e9:.1f} GB are free: leave --also out"
        )


def words(sizes: Mapping[str, int]) -> str:
    """The sizes of components in words."""
    return ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in sizes.items())
