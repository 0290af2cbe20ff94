"""A folder as the weights of one network: its one file of weights, or all parts of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.system import disk

SAFE, PICKLED = (".safetensors",), (".bin", ".pt", ".pth", ".ckpt")


def files(folder: Path) -> list[Path]:
    """The files of weights, those of safetensors alone where there are any.

    Raises:
        InputError: there are none, or several that are not parts of one.
    """
    for suffixes in (SAFE, PICKLED):
        there = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
        if not there:
            continue
        stems = {path.name.rpartition("-of-")[0].rpartition("-")[0] for path in there}
        if len(there) > 1 and (len(stems) > 1 or "" in stems):
            names = ", ".join(path.name for path in there[:4])
            raise InputError(
                f"{folder} holds several files of weights ({names}): name one of them"
            )
        return there
    raise InputError(f"{folder} holds no file of weights, {', '.join(SAFE + PICKLED)}")


def read(folder: Path) -> Mapping[str, Any]:
    """The content of the files together.

    Raises:
        InputError: as for `files` and `reading.read`; or two parts have a weight of one name.
    """
    from bench.models.sources import reading

    parts = files(folder)
    content: dict[str, Any] = {}
    for path in parts:
        held = reading.read(path, is_shard=len(parts) > 1)
        if len(parts) == 1:
            alone: Mapping[str, Any] = held
            return alone
        for name, value in held.items():
            if name in content:
                raise InputError(f"{path}: weight {name} stands in another part, too")
            content[name] = value
    return content


def digest(folder: Path) -> str:
    """SHA-256 (hex) of the names and contents of the files.

    Raises:
        InputError: as for `files`.
    """
    total = hashlib.sha256()
    for path in files(folder):
        total.update(f"{path.name} {disk.sha256(path)}\n".encode())
    return total.hexdigest()
