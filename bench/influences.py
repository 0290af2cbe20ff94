"""The influence of each image on each number of a run, in a file beside its run.json.

Two runs of the same noise pair up image by image. Their difference is then known far better than
from two intervals, but only from the terms behind them: so these are kept, in float32 and
compressed, under "<checkpoint> <scheme> <backend>|<measurement>". A run without the file compares
by its intervals, as if its images were independent of the other run's.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench import disk
from bench.errors import InputError
from bench.spec import Cell

NAME = "influences.npz"

Influences = Mapping[str, np.ndarray]


def key(cell: Cell, measurement: str) -> str:
    """Where the terms of a cell's measurement are."""
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
    """The terms of `pack`, float64 (N,) each."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name].astype(np.float64) for name in file.files}


def load(path: Path) -> dict[str, np.ndarray]:
    """The terms in a file, float64 (N,) each; none where there is no file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name].astype(np.float64) for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged ({error}): run again, or delete the file") from None
