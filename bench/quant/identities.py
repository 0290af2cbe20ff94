"""What decides the arithmetic of backends that execute the kernels of another package."""

from __future__ import annotations

from importlib import metadata

BITSANDBYTES = "bitsandbytes"


def bitsandbytes(backend: str = "") -> dict[str, str]:
    """Of the backends of bitsandbytes: its version."""
    try:
        return {"package": f"{BITSANDBYTES} {metadata.version(BITSANDBYTES)}"}
    except metadata.PackageNotFoundError:
        return {"package": f"{BITSANDBYTES} missing"}
