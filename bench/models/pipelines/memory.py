"""Whether a machine's memory holds a pipeline, before anything of it is loaded.

In memory at once are the network in float32, as it is and quantized, and the decoder; the text
encoders only while prompts are encoded, before there is a quantized network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import InputError
from bench.models.pipelines.folder import DECODER, TEXT
from bench.system import host

# The network and its quantized copy.
COPIES = 2


def needed(sizes: Mapping[str, int], network: str) -> int:
    """Bytes that weights take at most, of components' sizes in float32."""
    encoding = sizes.get(network, 0) + sum(sizes.get(name, 0) for name in TEXT)
    return max(encoding, COPIES * sizes.get(network, 0)) + sizes.get(DECODER, 0)


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
            f"{where} needs about {wanted / 1e9:.1f} GB of memory (weights in float32, of the "
            f"{network} {COPIES} times), and {there / 1e9:.1f} GB are free"
        )


def words(sizes: Mapping[str, int]) -> str:
    """The sizes of components in words."""
    return ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in sizes.items())
