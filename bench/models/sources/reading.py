"""Files of weights as they lie on a disk: which format one is, and its content, nothing executed.

A file is read if it is a regular file of `torch.save` or of safetensors. Everything else that a
person may name by mistake (a pointer of Git LFS, an error page, an archive of arrays, weights of
another library) is refused by what it is.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.models.sources import pickles

# First bytes of what is no weights of torch, what it is, and what to do.
FOREIGN = (
    (b"version https://git-lfs", "is a Git LFS pointer; run `git lfs pull`"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes: bench reads weights of torch alone"),
    (b"GGUF", "is a GGUF file, whose weights are quantized already: take the one it was made of"),
    (b"\x1f\x8b", "is compressed by gzip: unpack it first"),
    (b"BZh", "is compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it first"),
    (b"\x93NUMPY", "is one array of NumPy, no weights with names"),
    (b"<", "is a page of the web, not the file it was to be: fetch it again"),
)
SHARD = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.\w+$|\.index\.json$")
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".th", ".tar", ".model")


def read(path: Path, is_shard: bool = False) -> Any:
    """The content of a file: for safetensors names to tensors, else whatever was saved.

    Args:
        path: the path of the file.
        is_shard: whether one part of weights in several files is wanted.

    Raises:
        InputError: no regular file, one that cannot be opened, or one that is no whole file of
            safetensors or `torch.save`.
    """
    head = beginning(path)
    if SHARD.search(path.name) and not is_shard:
        raise InputError(f"{path} is one part of weights in several files: import their folder")
    for start, reason in FOREIGN:
        if head.lstrip().startswith(start) or head.startswith(start):
            raise InputError(f"{path} {reason}")
    if not head:
        raise InputError(f"{path} is empty: fetch it again")
    if head[:2] == b"PK" or pickles.is_pickle(head):
        return pickles.read(path)
    if not _is_safetensors(head) and path.suffix.lower() in SUFFIXES:
        return pickles.read(path)
    return _safetensors(path)


def is_pickled(path: Path) -> bool:
    """Whether a file is one of `torch.save`, not of safetensors."""
    head = beginning(path)
    return head[:2] == b"PK" or pickles.is_pickle(head)


def beginning(path: Path) -> bytes:
    """The first bytes of a regular file.

    Raises:
        InputError: it is no regular file or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: name the file of weights in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is no regular file: copy the weights to one")
        with path.open("rb") as stream:
            return stream.read(64)
    # A null byte in a name is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason})") from None


def _is_safetensors(head: bytes) -> bool:
    """Whether a file begins with the length of a header and the header's brace."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    # safetensors has errors of its own, and torch others for types that it does not know.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is no whole safetensors ({reason})") from None
