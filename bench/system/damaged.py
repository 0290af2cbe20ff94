"""What is damaged in the cache is moved out of the way, and told."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

from bench.system import disk

DAMAGED = ".damaged"


def set_aside(path: Path, reason: str, seen: os.stat_result | None = None) -> None:
    """Move what is damaged out of the way, and say so.

    Args:
        path: path of the artifact.
        reason: the fault of the artifact, for the message.
        seen: stamp of the file that was read; where something else is there by now, another
            process made it again, and it stays.

    Raises:
        MachineError: it cannot be moved.
    """
    target = path.with_name(path.name + DAMAGED)
    try:
        now = path.lstat()
        if seen and not stat.S_ISLNK(now.st_mode) and _identity(seen) != _identity(now):
            return
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        os.rename(path, target)
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk.MachineError(
            f"{path} is damaged ({reason}) and cannot be set aside: {error.strerror}; delete it"
        ) from None
    print(
        f"bench: {path} is damaged ({reason}): set aside as {target.name}, made again",
        file=sys.stderr,
    )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
