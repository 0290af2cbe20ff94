"""The influence of each image on each number of a run, in a file beside its run.json.

Two runs of the same noise pair up image by image. Their difference is then known far better than
from two intervals, but only from the terms behind them. So these are kept, in float32 and
compressed, under "<checkpoint> <scheme> <backend>|<measurement>". A run without the file compares
by its intervals, as if its images were independent of the other run's.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import border, npz
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.printable import short
from bench.system import disk

NAME = "influences.npz"

Influences = Mapping[str, np.ndarray]


def key(cell: Cell, measurement: str) -> str:
    """The key of the terms of a cell's measurement."""
    return f"{cell}|{measurement}"


def save(path: Path, terms: Influences) -> None:
    """Write terms (N,) by name, whole or not at all."""
    with disk.atomic(path) as temporary:
        temporary.write_bytes(pack(terms))


def pack(terms: Influences) -> bytes:
    """Terms (N,) by name as the bytes of such a file."""
    stream = io.BytesIO()
    arrays: dict[str, Any] = {name: np.float32(values) for name, values in terms.items()}
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """The terms of `pack`, float64 (N,) each.

    Raises:
        ValueError: they are not what `pack` writes.
    """
    return _terms(npz.read(io.BytesIO(content)))


def load(path: Path) -> dict[str, np.ndarray]:
    """The terms in a file, float64 (N,) each; none where there is no file.

    Raises:
        InputError: the file is damaged.
    """
    if not border.exists(path):
        return {}
    try:
        return _terms(npz.read(path))
    except (OSError, ValueError) as error:
        reason = short(str(error))
        raise InputError(f"{path}: damaged ({reason}): run again, or delete the file") from None


def _terms(arrays: Influences) -> dict[str, np.ndarray]:
    """The terms (N,) in float64; ValueError where they are none."""
    for name, values in arrays.items():
        if values.dtype.kind != "f" or values.ndim != 1:
            raise ValueError(f"{short(name)} is of type {values.dtype} and shape {values.shape}")
    return {name: values.astype(np.float64) for name, values in arrays.items()}
