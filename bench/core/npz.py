"""Arrays of numpy's npz archives, read without trusting the sizes that the archive states.

numpy allocates what an array's header asks for, evaluates the header, and decompresses whatever
the archive holds: a file of a kilobyte can ask for terabytes. Here sizes are checked against the
bytes of the file before anything is allocated, objects and records are refused, and every fault is
a ValueError. Format: numpy.lib.format in a ZIP archive.
"""

from __future__ import annotations

import io
import math
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from bench.core.printable import short

# Limit of all arrays of a file together, decompressed; statistics of features have 34 MB.
BYTES = 1 << 31
MEMBERS = 100_000
# Bytes that hold any header that numpy reads.
HEADER = 1 << 17
# Booleans, whole, real and complex numbers, and text.
KINDS = "biufcSU"
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(
    source: Path | io.BytesIO, wanted: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an npz by name.

    Args:
        source: the file, or its content.
        wanted: the names to read where they are there; all by default.

    Raises:
        ValueError: no whole npz of numbers and text, or one that unfolds to more than BYTES.
        OSError: the file cannot be read.
    """
    if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
        raise ValueError("no regular file")
    try:
        with zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if len(infos) > MEMBERS or sum(info.file_size for info in infos) > BYTES:
                raise ValueError("it unfolds to more than such a file can hold")
            arrays: dict[str, np.ndarray] = {}
            for info in infos:
                name = info.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"{short(name)} is there twice")
                if wanted is None or name in wanted:
                    arrays[name] = array(archive.read(info), name)
            return arrays
    except ValueError:
        raise
    # The readers of archives raise nearly every exception on damaged bytes.
    except Exception as error:
        raise ValueError(short(str(error)) or type(error).__name__) from None


def names(source: Path | io.BytesIO) -> list[str]:
    """The names of the arrays of an npz that `read` takes."""
    with zipfile.ZipFile(source) as archive:
        return [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]


def check_header(stream: IO[bytes], size: int, name: str) -> None:
    """Make sure that an npy file states an array that fills it; only its first bytes are read.

    Args:
        stream: the file, at its start.
        size: bytes of the file.
        name: of the array, for messages.

    Raises:
        ValueError: as for `array`.
    """
    _header(io.BytesIO(stream.read(HEADER)), size, name)


def array(data: bytes, name: str) -> np.ndarray:
    """The array of an npy file; a read-only view of its bytes.

    Raises:
        ValueError: another format, another type, or a shape that the bytes do not fill.
    """
    stream = io.BytesIO(data)
    shape, fortran, kind = _header(stream, len(data), name)
    return np.ndarray(shape, kind, data, stream.tell(), order="F" if fortran else "C")


def _header(stream: io.BytesIO, size: int, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type that the head of a file of so many bytes states."""
    try:
        shape, fortran, kind = HEADERS[np.lib.format.read_magic(stream)](stream)
        whole = all(type(size) is int and size >= 0 for size in shape)
    # The header is Python's notation, and numpy lets out whatever reading it raises.
    except Exception:
        raise ValueError(f"{short(name)} has no header of an array") from None
    if kind.kind not in KINDS or kind.hasobject or not kind.itemsize:
        raise ValueError(f"{short(name)} is of type {short(str(kind))}, not of numbers or text")
    if not whole or math.prod(shape) * kind.itemsize != size - stream.tell():
        raise ValueError(f"{short(name)} has bytes for another shape than {short(str(shape))}")
    return shape, fortran, kind
