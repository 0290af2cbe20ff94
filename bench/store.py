"""The disk: atomic writes, the cache folder, content hashes, run folders.

Everything that is written appears whole or not at all: a file is written beside its target and
renamed over it, so a killed process leaves nothing that a later one would trust.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench import chronology
from bench.errors import InputError
from bench.record import Run, run_from_json
from bench.spec import Cell


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends well.

    Raises:
        InputError: the disk does not take it.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write {path}: {reason}; make room, or set --out or BENCH_CACHE to another "
            f"folder"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def cache_root() -> Path:
    """The cache folder: `BENCH_CACHE`, else `bench` in the user's cache folder."""
    if given := os.environ.get("BENCH_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bench"


def sample_name(cell: Cell) -> str:
    """File name of a cell's strip of sample images in a run's folder."""
    name = f"{cell.checkpoint.name}--{cell.scheme}--{cell.backend}"
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name) + ".png"


def load_array(path: Path) -> np.ndarray | None:
    """A cached array, or None where there is none or it cannot be read."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def save_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(folder: Path) -> None:
    """Make sure that a folder takes files or can be made; nothing is left behind.

    Raises:
        InputError: it does not.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose --out DIR") from None


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / "run.json" if folder.is_dir() else folder
    try:
        return run_from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"no run at {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a run.json of bench (no UTF-8)") from None


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
        if (folder / "run.json").exists():
            return folder
    raise InputError(f"no run {name!r}: neither a folder with run.json nor an id in {reports}")


def save_strip(path: Path, strip: np.ndarray) -> None:
    """Write sample images side by side, uint8 (H, W, C) with C of 1 or 3, as a PNG."""
    from PIL import Image

    image = Image.fromarray(strip[..., 0] if strip.shape[-1] == 1 else strip)
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")
