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

from bench.errors import InputError
from bench.record import Run, run_from_json
from bench.spec import Cell

# Of a sample's file; a file name may have 255 bytes, and one that is being written has more.
NAME_LENGTH = 120


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
    """The cache folder: `BENCH_CACHE`, else `bench` in the user's cache folder.

    Raises:
        InputError: the user has no home folder.
    """
    if given := os.environ.get("BENCH_CACHE"):
        return Path(given)
    # A relative XDG_CACHE_HOME is to be ignored, says its specification.
    if Path(given := os.environ.get("XDG_CACHE_HOME", "")).is_absolute():
        return Path(given) / "bench"
    try:
        return Path.home() / ".cache" / "bench"
    except RuntimeError:
        raise InputError(
            "no home folder to keep the cache in: set BENCH_CACHE to a folder"
        ) from None


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


def check_writable(folder: Path, advice: str = "choose --out DIR") -> None:
    """Make sure that a folder takes files or can be made; nothing is left behind.

    Raises:
        InputError: it does not, or the working folder is gone.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; {advice}") from None


def check_cache() -> None:
    """Make sure that the cache takes files.

    Raises:
        InputError: it does not.
    """
    check_writable(cache_root(), "set BENCH_CACHE to another folder")


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
    """Folders of all runs, oldest first (ids begin with the UTC time)."""
    return sorted(path.parent for path in reports.glob("*/run.json"))


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
