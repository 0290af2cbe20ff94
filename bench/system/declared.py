"""The folders that a user declared: links of a folder of images lead into these and no others.

A folder of images may come from anywhere, and a link in it may name any file of this machine. So a
link is followed within the folder that was named, and into the folders that BENCH_FOLDERS names,
separated as in PATH.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.errors import InputError
from bench.core.printable import short

VARIABLE = "BENCH_FOLDERS"


def check(path: Path, real_path: str, folder: Path) -> None:
    """Make sure that what a path leads to lies in a declared folder.

    Args:
        path: of a link, as it is named.
        real_path: where it leads to.
        folder: the folder that was named.

    Raises:
        InputError: it leads elsewhere.
    """
    others = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for name in (str(folder), *others):
        if Path(real_path).is_relative_to(os.path.realpath(name)):
            return
    raise InputError(
        f"{short(str(path), 300)} cannot be read: it is a link to {short(real_path, 300)}, "
        f"outside of {short(str(folder), 300)}; where you trust it, set {VARIABLE} to the folder "
        f"that it leads into"
    )
