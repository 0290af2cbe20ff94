"""Runs on disk: their folders, what is in them, and how a new one appears.

The disk itself is `bench.disk`, whose functions are at hand here too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench import border, chronology, disk
from bench.disk import atomic as atomic
from bench.disk import cache_root as cache_root
from bench.disk import check_cache as check_cache
from bench.disk import check_writable as check_writable
from bench.disk import save_text as save_text
from bench.disk import sha256 as sha256
from bench.disk import sweep as sweep
from bench.errors import InputError
from bench.printable import quoted
from bench.record import Run, run_from_json
from bench.spec import Cell

LOCK = ".bench.lock"
# Seconds that one process waits for another, which needs far less than one.
PATIENCE = 60
# Of a sample's file; a file name may have 255 bytes, and one that is being written has more.
NAME_LENGTH = 120


def sample_name(cell: Cell) -> str:
    """File name of a cell's strip of sample images in a run's folder: short, of plain characters,
    and another one for every cell, also where upper and lower case are one."""
    name = f"{cell.checkpoint.name}--{cell.scheme}--{cell.backend}"
    plain = re.sub(r"[^a-z0-9._+-]", "_", name.lower())[:NAME_LENGTH]
    if plain != name:
        plain += "-" + hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:10]
    return plain + ".png"


def sample_path(samples: Path, cell: Cell) -> Path:
    """The strip of a cell in the samples of a run, which may be of a time with other names."""
    path = samples / sample_name(cell)
    name = f"{cell.checkpoint.name}--{cell.scheme}--{cell.backend}"
    former = path.with_name(re.sub(r"[^A-Za-z0-9._+-]", "_", name) + ".png")
    with contextlib.suppress(OSError):
        if not path.is_file() and former.is_file():
            return former
    return path


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / "run.json" if border.is_folder(folder) else folder
    text = border.text(path, "a run.json of bench")
    try:
        return run_from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def run_folders(reports: Path) -> list[Path]:
    """Folders of all runs, oldest first, by the time that they state."""
    return chronology.ordered(path.parent for path in reports.glob("*/run.json"))


def find_run(reports: Path, name: str | None) -> Path:
    """The folder of a run by path or id, the newest where `name` is None.

    Raises:
        InputError: no such run.
    """
    if name is None:
        folders = run_folders(reports)
        if not folders:
            raise InputError(f"no runs in {reports}: run `bench run` first, or name --out DIR")
        return folders[-1]
    for folder in (Path(name), reports / name):
        if border.exists(folder / "run.json"):
            return folder
    raise InputError(
        f"no run {quoted(name)}: neither a folder with run.json nor an id in {reports}"
    )


def save_strip(path: Path, strip: np.ndarray) -> None:
    """Write sample images side by side, uint8 (H, W, C) with C of 1 or 3, as a PNG."""
    from PIL import Image

    image = Image.fromarray(strip[..., 0] if strip.shape[-1] == 1 else strip)
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")


def publish(out: Path, stem: str, write: Callable[[Path, str], None]) -> Path:
    """Make a folder of `out` that appears whole, under a name that no other one has taken.

    Args:
        out: the folder of runs.
        stem: of the name; the first free one of stem, stem-2, stem-3 ... is taken.
        write: fills a folder (its first argument) that will have a name (its second). It is
            called again where another process took that name meanwhile.

    Raises:
        InputError: the disk does not take it.
    """
    temporary = out / disk.unfinished_name()
    # One below, so that no search for runs takes it for one.
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
