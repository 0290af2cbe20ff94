"""The files of the cache, each with a digest that is checked whenever the file is read.

    file = content, then a line of the SHA-256 of (key, content)

The key says what the file is (the content key of its folder, and its own name), so content that
was cut off, changed by a bit, permuted, or exchanged with that of another file is noticed. Such a
file is missing: a line on stderr says so, the file is set aside under `NAME.damaged`, and whoever
asked makes it again. SHA-256 takes about a second for a gigabyte, of an image far less than
sampling it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.system import disk, mirror, surroundings
from bench.system.damaged import set_aside as set_aside

MARK = b"\nbench artifact, SHA-256 "
TRAILER = len(MARK) + 64 + 1
CHUNK = 1 << 22


class Lost(disk.MachineError):
    """An artifact that was there is gone or damaged while it is used; it is to be made again."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is gone, or was damaged while it was in use: repeat the command")


class Sealing:
    """A stream that hashes what it writes."""

    def __init__(self, stream: IO[bytes], key: str) -> None:
        self._stream, self._hash = stream, _started(key)

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._hash.update(data)
        return self._stream.write(data)

    def seal(self) -> None:
        """End the file with its digest."""
        self._stream.write(MARK + self._hash.hexdigest().encode() + b"\n")


def _started(key: str) -> Any:
    return hashlib.sha256(key.encode() + b"\0")


@contextlib.contextmanager
def writing(path: Path, key: str) -> Iterator[Sealing]:
    """Yield a stream whose content appears at `path` with its digest when the block ends well.

    Raises:
        MachineError: the disk does not take it.
    """
    _clear(path)
    with disk.atomic(path) as temporary:
        with temporary.open("wb") as stream:
            sealing = Sealing(stream, key)
            yield sealing
            sealing.seal()
        # Before it appears, so that what is here is there.
        mirror.push(path, temporary)


def write(path: Path, key: str, content: bytes) -> None:
    """Keep bytes."""
    with writing(path, key) as stream:
        stream.write(content)


def read(path: Path, key: str) -> bytes | None:
    """The bytes that were kept under a key, or None where they are missing or damaged, here and in
    the mirror of the cache, if there is one.

    Raises:
        MachineError: the disk or the mirror does not give them, or they cannot be set aside.
    """
    content = _read(path, key)
    return _read(path, key) if content is None and mirror.pull(path) else content


def exists(path: Path) -> bool:
    """Whether a file is in the cache or its mirror; nothing is read of it."""
    return path.exists() or mirror.has(path)


def _read(path: Path, key: str) -> bytes | None:
    with _opened(path) as stream:
        if stream is None:
            return None
        try:
            data = stream.read()
        except OSError as error:
            if error.errno not in surroundings.BROKEN:
                raise disk.cannot_read(path, error) from None
            data = b""
        status = os.fstat(stream.fileno())
    content, trailer = data[:-TRAILER], data[-TRAILER:]
    digest = _started(key)
    digest.update(content)
    if trailer == MARK + digest.hexdigest().encode() + b"\n":
        return content
    set_aside(path, _reason(trailer), status)
    return None


def stated(path: Path) -> str:
    """The SHA-256 at the end of a file that was checked before, in hex; Lost without one."""
    if not path.exists():
        mirror.pull(path)
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TRAILER))
            trailer = stream.read()
    except FileNotFoundError:
        trailer = b""
    except OSError as error:
        raise disk.cannot_read(path, error) from None
    if not trailer.startswith(MARK):
        raise Lost(path)
    return trailer[len(MARK) : -1].decode("ascii", "replace")


def _reason(trailer: bytes) -> str:
    if trailer.startswith(MARK):
        return "its content does not match its SHA-256"
    return "it does not end with its SHA-256: cut off, or not of this bench"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | None]:
    """Open a regular file for reading; None where there is none."""
    status: os.stat_result | None = None
    try:
        seen = path.stat()
        # A pipe would be waited for, a device has no end.
        if stat.S_ISREG(seen.st_mode):
            status = seen
        else:
            set_aside(path, "it is no file", seen)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise disk.cannot_read(path, error) from None
        set_aside(path, "it is a link to itself")
    stream: IO[bytes] | None = None
    if status is not None:
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            pass
        except PermissionError:
            set_aside(path, "it may not be read", status)
        except OSError as error:
            raise disk.cannot_read(path, error) from None
    if stream is None:
        yield None
        return
    with stream:
        yield stream


def remove(path: Path) -> None:
    """Remove a file that is of no use any more, also from the mirror, and its folder where that is
    empty then."""
    mirror.remove(path)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def _clear(path: Path) -> None:
    """Set aside what stands where a file, or a folder of the cache above it, is to be."""
    if path.is_dir() and not path.is_symlink():
        set_aside(path, "a folder is in its place")
    above = next((parent for parent in path.parents if os.path.lexists(parent)), None)
    if above and not above.is_dir() and disk.cache_root() in above.parents:
        set_aside(above, "it is no folder")


def bound(path: Path) -> str:
    """A key for a file in a folder that is named by a key: that, and the name of the file."""
    return f"{path.parent.name} {path.name}"


def save_array(path: Path, key: str, array: np.ndarray) -> None:
    """Keep an array."""
    with writing(path, key) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


def load_array(
    path: Path, key: str, shape: Sequence[int | None], dtype: Any = None
) -> np.ndarray | None:
    """The array that was kept under a key, or None.

    Args:
        shape: shape that the array must have, with None for a size that is not known.
        dtype: type that its values must have; None for any.
    """
    content = read(path, key)
    if content is None:
        return None
    try:
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        set_aside(path, " ".join(str(error).split())[:120])
        return None
    if not _fits(array, shape, dtype):
        set_aside(path, f"it holds {array.dtype} {list(array.shape)}")
        return None
    return array


def _fits(array: np.ndarray, shape: Sequence[int | None], dtype: Any) -> bool:
    sizes = len(array.shape) == len(shape) and all(
        wanted in (None, size) for size, wanted in zip(array.shape, shape, strict=True)
    )
    return sizes and (dtype is None or array.dtype == dtype)


def loader(key: str) -> Callable[[Path], np.ndarray]:
    """What reads the array files of a folder, of which `key` is the key: each is kept under
    "KEY NAME" and held against its digest.

    It raises `Lost` for a file that is gone or damaged by now.
    """

    def load(path: Path) -> np.ndarray:
        content = read(path, f"{key} {path.name}")
        if content is None:
            raise Lost(path)
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        return array

    return load


def save_text(path: Path, key: str, text: str) -> None:
    """Keep a text."""
    write(path, key, text.encode("utf-8"))


def load_text(path: Path, key: str) -> str | None:
    """The text that was kept under a key, or None."""
    content = read(path, key)
    return None if content is None else content.decode("utf-8")


def intact(path: Path, key: str) -> bool:
    """Whether a file is whole, without holding all of it in memory; what is not is set aside.

    Raises:
        MachineError: the disk does not give it, or it cannot be set aside.
    """
    with _opened(path) as stream:
        if stream is None:
            return False
        status = os.fstat(stream.fileno())
        digest, left = _started(key), status.st_size - TRAILER
        while left > 0 and (chunk := stream.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
        trailer = stream.read()
    if trailer == MARK + digest.hexdigest().encode() + b"\n":
        return True
    set_aside(path, _reason(trailer), status)
    return False
