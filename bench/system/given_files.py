"""Files that a user names and whose content decides numbers: each is read once in a process.

What such a file holds is part of the keys of all that it decides. A run takes hours, and the file
may be edited meanwhile: so the hash in the keys and what is executed come from one reading.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from bench.core import border
from bench.core.errors import InputError
from bench.system import disk


def place(text: str) -> Path:
    """The path that a text names, with `~` for a home folder.

    Raises:
        InputError: there is no such user's home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text}: there is no such user's home") from None


@cache
def code(path: Path) -> str:
    """The text of a file of Python.

    Raises:
        InputError: no such file, or no text in UTF-8.
    """
    return border.text(path, "a file of Python")


def sha256_of_code(path: Path) -> str:
    """SHA-256 (hex) of the text that `code` gives; InputError as there."""
    return hashlib.sha256(code(path).encode()).hexdigest()


@cache
def sha256(path: Path) -> str:
    """SHA-256 (hex) of a regular file of any size, as it was when it was first asked for.

    Raises:
        InputError: no such file, or one that cannot be read.
    """
    if not border.is_file(path):
        raise InputError(f"{path}: no such file")
    try:
        return disk.sha256(path)
    except OSError as error:
        raise disk.cannot_read(path, error) from None


def check_unchanged(path: Path) -> None:
    """Make sure that a file is what `sha256` said.

    Raises:
        RuntimeError: it was changed since.
    """
    if disk.sha256(path) != sha256(path):
        raise RuntimeError(f"{path} was changed since the command began: repeat the command")


def forget() -> None:
    """Read all files anew when they are asked for again, as another command does."""
    code.cache_clear()
    sha256.cache_clear()
