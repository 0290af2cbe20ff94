"""Arrays out of a pickle without executing it.

A pickle is a program: it may call any function of any module. Here every call is only recorded,
and only under the names that pickled uint8 arrays contain; any other name is refused before it is
looked up. The array is then built from the recorded shape, type and bytes. Nothing is allocated by
a number that the pickle states: `scan` walks the opcodes first (`pickletools` documents them),
which checks every length against the bytes that are there, and bounds their number and the memo.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.core.errors import InputError

# Python 2 with old numpy, numpy before 2.0, numpy since 2.0; `encode` is how protocol 2 of
# Python 3 writes bytes.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
OPCODES = 1_000_000
MEMO = ("PUT", "BINPUT", "LONG_BINPUT")


@dataclass(eq=False)
class Recorded:
    """An inert stand-in for a function, and for the result of calling it."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __call__(self, *arguments: Any) -> Recorded:
        return Recorded(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Recorder(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise InputError(f"the pickle calls {module}.{name}, which no array needs")
        return Recorded(name)


def scan(data: bytes) -> None:
    """Walk the opcodes of a pickle without executing them.

    Raises:
        ValueError: truncated, an unknown opcode, or more opcodes or memo than an array needs.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data), 1):
        # The memo grows to its greatest index; honest writers count from 0 or 1.
        index = int(argument or 0) if opcode.name in MEMO else 0
        if number > OPCODES or index > number:
            raise ValueError("more opcodes or memo than an array needs")


def read(data: bytes, label: str) -> dict[str, Any]:
    """The pickled dictionary, its keys as text, calls as `Recorded`.

    Args:
        data: the pickle.
        label: name of the pickle in errors.

    Raises:
        InputError: a call that is not allowed, a damaged pickle, or no dictionary.
    """
    try:
        scan(data)
        content = _Recorder(io.BytesIO(data), encoding="bytes").load()
    except InputError as error:
        raise InputError(f"{label}: refused: {error}") from None
    # The unpickler raises nearly every exception on damaged bytes.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{label}: not a whole pickle ({reason})") from None
    if not isinstance(content, dict):
        raise InputError(f"{label}: the pickle holds no dictionary")
    return {text: value for key, value in content.items() if (text := _text(key)) is not None}


def array(value: Any, label: str) -> np.ndarray:
    """The uint8 array (N, D) that recorded calls describe; a view of the pickled bytes.

    Raises:
        InputError: no array, another type or number of axes, or bytes that do not fill it.
    """
    match value:
        case Recorded(name="_reconstruct", state=(_, shape, dtype, fortran, raw)):
            order = "F" if fortran else "C"
        case Recorded(name="_frombuffer", arguments=(raw, dtype, shape, str(order))):
            pass
        case _:
            raise InputError(f"{label}: holds no pickled numpy array")
    kind = _text(dtype.arguments[0]) if _called(dtype, "dtype") else None
    if kind not in ("u1", "|u1", "uint8"):
        raise InputError(f"{label}: the array must be of type u1 (bytes), not {kind}")
    sizes = shape if isinstance(shape, tuple) else ()
    if len(sizes) != 2 or not all(type(size) is int and size >= 0 for size in sizes):
        raise InputError(f"{label}: the array must have two axes")
    if _called(raw, "encode"):
        # Characters that are no byte are dropped: the length is then wrong, and the array refused.
        raw = str(raw.arguments[0]).encode("latin1", "ignore")
    if not isinstance(raw, bytes | bytearray) or len(raw) != sizes[0] * sizes[1]:
        raise InputError(f"{label}: the bytes do not fill an array of shape {sizes}")
    return np.frombuffer(raw, np.uint8).reshape(sizes, order="F" if order == "F" else "C")


def _called(value: Any, name: str) -> bool:
    """Whether the value is a recorded call of that name with arguments."""
    return isinstance(value, Recorded) and value.name == name and bool(value.arguments)


def _text(value: Any) -> str | None:
    """Text from any of the ways in which Python 2 and 3 pickle it."""
    if _called(value, "encode"):
        value = value.arguments[0]
    if isinstance(value, bytes):
        return value.decode("latin1")
    return value if isinstance(value, str) else None
