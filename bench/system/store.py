"""The folders of runs on disk: writing a new one, its files, and locks.

The disk itself is `bench.system.disk`, whose functions are at hand here too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.core.errors import InputError
from bench.system import disk, mirror
from bench.system.disk import atomic as atomic
from bench.system.disk import cache_root as cache_root
from bench.system.disk import check_writable as check_writable
from bench.system.disk import save_text as save_text
from bench.system.disk import sha256 as sha256
from bench.system.disk import sweep as sweep

LOCK = ".bench.lock"
# Seconds that one process waits for another, which needs far less than one.
PATIENCE = 60


def check_cache() -> None:
    """Make sure that the cache and its mirror, if there is one, take files.

    Raises:
        InputError: they do not.
    """
    disk.check_cache()
    mirror.check()


def publish(out: Path, stem: str, write: Callable[[Path, str], None]) -> Path:
    """Make a folder of `out` that appears whole, under a name that no other one has taken.

    Args:
        out: the folder of runs.
        stem: start of the name; the first free one of stem, stem-2, stem-3 ... is taken.
        write: fills a folder (its first argument) that will have a name (its second). It is
            called again where another process took that name meanwhile.

    Raises:
        InputError: the disk does not take it.
    """
    temporary = out / disk.unfinished_name()
    # One level below `out`, so that a search for runs does not see the unfinished folder.
    folder = temporary / "run"
    try:
        out.mkdir(parents=True, exist_ok=True)
        disk.sweep(out, deep=False)
        folder.mkdir(parents=True)
        count = 1
        while True:
            name = stem if count == 1 else f"{stem}-{count}"
            count += 1
            if os.path.lexists(out / name):
                continue
            write(folder, name)
            try:
                os.rename(folder, out / name)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                continue
            disk.synchronize(out)
            return out / name
    except OSError as error:
        raise disk.cannot_write(out / stem, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block, of all that name this folder.

    Raises:
        InputError: the folder does not take a file, or another process stays in its block.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path, timeout=PATIENCE):
            yield
    except Timeout:
        raise InputError(
            f"another process holds {path} since {PATIENCE} s: wait for it, or end it"
        ) from None
    except OSError as error:
        raise disk.cannot_write(path, error) from None
