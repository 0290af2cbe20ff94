"""A mirror of the cache in an object store: machines without a common disk share work by it.

    BENCH_MIRROR=s3://BUCKET/FOLDER     (gs://, abfs:// ...: any store that fsspec knows)

What is made is written to the mirror before it appears in the cache, and what is missing from the
cache, or damaged there, is looked for in the mirror before it is made. Files of the cache are
named by the content that they rest on, never change, and end with a digest that is checked
wherever they come from. So a mirror needs no order and no locks: it may answer late or twice, and
two machines that make the same file write the same bytes.

A request that fails is tried again, a little later each time. A store that does not answer in the
end stops the command, as a full disk does: whatever is in the cache is in the mirror, too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.system import disk

VARIABLE = "BENCH_MIRROR"
# Folders of the cache that are mirrored. Real images and their features are the user's own.
FOLDERS = ("images", "features", "quantized", "records", "fits", "tokens")
# Tries of a request, and seconds before the second one, twice as many before each further one.
TRIES, PAUSE = 8, 0.1
# Seconds for which the names in a folder of the mirror are remembered.
FRESH = 5.0
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_listed: dict[str, tuple[float, frozenset[str]]] = {}


def address() -> str:
    """The address of the mirror, "" for none."""
    return os.environ.get(VARIABLE, "").rstrip("/")


def push(path: Path, content: Path) -> None:
    """Write a file to the mirror, if there is one and the file is of a mirrored folder.

    Args:
        path: where the file will be in the cache.
        content: where it is now.

    Raises:
        MachineError: the store does not take it.
    """
    if (place := _place(path)) is not None:
        _tried("write", place, lambda store: store.pipe_file(place, content.read_bytes()))


def pull(path: Path) -> bool:
    """Bring a file from the mirror into the cache, unchecked; whether it is there.

    Raises:
        MachineError: the store does not answer, or the disk does not take it.
    """
    place = _place(path)
    if place is None:
        return False
    try:
        content = _tried("read", place, lambda store: store.cat_file(place))
    except FileNotFoundError:
        return False
    with disk.atomic(path) as temporary:
        temporary.write_bytes(content)
    return True


def has(path: Path) -> bool:
    """Whether a file is in the mirror, as far as was known some seconds ago."""
    place = _place(path)
    if place is None:
        return False
    folder = place.rpartition("/")[0]
    then, names = _listed.get(folder, (-FRESH, frozenset()))
    if time.monotonic() - then >= FRESH:
        names = frozenset(name.rpartition("/")[2] for name in _names(folder))
        _listed[folder] = time.monotonic(), names
    return path.name in names


def _names(folder: str) -> list[str]:
    try:
        names: list[str] = _tried("list", folder, lambda store: store.ls(folder, detail=False))
    except FileNotFoundError:
        return []
    return names


def remove(path: Path) -> None:
    """Remove a file from the mirror."""
    if (place := _place(path)) is not None:
        with contextlib.suppress(FileNotFoundError):
            _tried("remove", place, lambda store: store.rm_file(place))


def check() -> None:
    """Make sure that the mirror, if there is one, takes files and gives them back.

    Raises:
        InputError: no such store, no package for it, or it does not.
    """
    if not address():
        return
    place = f"{_root()}/tokens/{secrets.token_hex(8)}"
    text = secrets.token_bytes(16)
    _tried("write", place, lambda store: store.pipe_file(place, text))
    if _tried("read", place, lambda store: store.cat_file(place)) != text:
        raise InputError(f"{VARIABLE}={address()} gives back other bytes than it was given")
    _tried("remove", place, lambda store: store.rm_file(place))


def _place(path: Path) -> str | None:
    """Where a file of the cache is in the mirror; None where it is not mirrored."""
    if not address():
        return None
    root = disk.cache_root()
    if not path.is_relative_to(root):
        return None
    parts = path.relative_to(root).parts
    return "/".join((_root(), *parts)) if parts[0] in FOLDERS else None


def _tried(what: str, place: str, call: Callable[[Any], Any]) -> Any:
    """What a request gives, tried again where it fails.

    Raises:
        FileNotFoundError: there is no such file.
        MachineError: it fails again and again.
    """
    store = _opened(address(), os.getpid())[0]
    for attempt in range(TRIES):
        try:
            return call(store)
        except FileNotFoundError:
            raise
        # Stores have errors of their own, of their transport and of the system.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if isinstance(error, PermissionError):
                break
        if attempt + 1 < TRIES:
            time.sleep(PAUSE * 2**attempt)
    raise disk.MachineError(
        f"cannot {what} {place} in the mirror {address()} ({short(reason, 200)}): look after the "
        f"store and its credentials, and repeat the command: what was finished is kept"
    )


def _root() -> str:
    """The mirror's folder, as its store names it."""
    root: str = _opened(address(), os.getpid())[1]
    return root


@functools.cache
def _opened(url: str, process: int) -> tuple[Any, str]:
    """A store and the folder in it; each process has one of its own, as its threads are."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme in ("file", "local"):
        raise InputError(
            f"{VARIABLE} must be the address of an object store, as s3://BUCKET/FOLDER, not "
            f"{quoted(url)}: a folder that all machines see is named by BENCH_CACHE"
        )
    package = _PACKAGES.get(scheme, "a package of fsspec")
    try:
        import fsspec

        store, root = fsspec.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{VARIABLE}={short(url)}: {scheme}:// needs {package}, which cannot be imported "
            f"({short(str(error), 120)})"
        ) from None
    return store, root
