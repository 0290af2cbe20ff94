"""Work that several processes share on one cache: each file is made by one of them.

    for number, path in shared(paths, is_kept): make it and keep it

A process claims a file by a lock of the system, which ends with the process, however that ends.
What another process has claimed is left to it, and looked at again at the end, unless somebody
else will do that. No result rests on a claim: files appear whole, and whoever makes one makes the
same. So where a disk has no locks, or another process holds one for longer than LONGEST, the work
is done without.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

# Seconds after which a wait is told, and after which it ends: a process may be stopped for ever.
TOLD, LONGEST = 5.0, 3600.0


def shared(
    paths: Sequence[Path], is_kept: Callable[[Path], bool], waits: bool = True
) -> Generator[tuple[int, Path], None, None]:
    """Yield the files that this process is to make, each while it is claimed.

    Args:
        paths: the files, which other processes may be making too.
        is_kept: whether a file is there, whole.
        waits: whether to look again at what others had claimed.

    Yields:
        (position, path); those that others had claimed come last, if they are still missing.
    """
    others = []
    for number, path in enumerate(paths):
        if is_kept(path):
            continue
        with claimed(path, patience=0) as is_free:
            if not is_free:
                others.append((number, path))
            elif not is_kept(path):
                yield number, path
    for number, path in others if waits else ():
        with claimed(path):
            if not is_kept(path):
                yield number, path


@contextlib.contextmanager
def claimed(path: Path, patience: float = LONGEST) -> Iterator[bool]:
    """Claim what is to be made at a path for as long as the block runs.

    Args:
        path: the file or folder; the lock lies beside it.
        patience: seconds to wait for a process that has claimed it.

    Yields:
        False where another process held it all that time, else True.
    """
    from filelock import FileLock, Timeout

    place = path.with_name(f".{path.name}.lock")
    lock = FileLock(place)
    is_free = True
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, patience)
    except Timeout:
        is_free = False
    # The disk takes no lock, or no file: what is to be written next says so where it matters.
    except (OSError, NotImplementedError):
        pass
    try:
        yield is_free
    finally:
        if lock.is_locked:
            # Before it is released: a lock that another one holds by then is not removed.
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
            lock.release(force=True)


def _acquire(lock: Any, path: Path, patience: float) -> None:
    """Take a lock, and say on stderr that it is waited for, once it is."""
    from filelock import Timeout

    try:
        lock.acquire(timeout=min(patience, TOLD))
    except Timeout:
        if patience <= TOLD:
            raise
        print(f"bench: another worker or command makes {path}: waiting for it", file=sys.stderr)
        lock.acquire(timeout=patience - TOLD)
