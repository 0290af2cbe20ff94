"""The folders of runs: their order, reading them, and names of their files."""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core import border
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.core.record import Run, run_from_json
from bench.system import chronology
from bench.system.disk import atomic as atomic
from bench.system.influences import Influences

# Longest name of a sample's file; file systems allow 255 bytes, temporary names add some.
NAME_LENGTH = 120


@dataclass(frozen=True)
class LoadedRun:
    """A run as it was read, with what each image adds to its numbers.

    Attributes:
        label: the name that the user gave it.
        influences: terms (N,) of each number, by which numbers of one draw are paired
            (`bench.system.influences`).
    """

    label: str
    run: Run
    influences: Influences


def sample_name(cell: Cell) -> str:
    """File name of a cell's strip of sample images in a run's folder.

    It is short, of plain characters, and unique to the cell also on file systems that ignore case.
    """
    name = f"{cell.checkpoint.name}--{cell.scheme}--{cell.backend}"
    plain = re.sub(r"[^a-z0-9._+-]", "_", name.lower())[:NAME_LENGTH]
    if plain != name:
        plain += "-" + hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:10]
    return plain + ".png"


def sample_path(samples: Path, cell: Cell) -> Path:
    """The strip of a cell in the samples of a run; runs of earlier versions name it otherwise."""
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
            place = short(str(reports), 300)
            raise InputError(f"no runs in {place}: run `bench run` first, or name --out DIR")
        return folders[-1]
    for folder in (Path(name), reports / name):
        if border.exists(folder / "run.json"):
            return folder
    raise InputError(
        f"no run {quoted(name)}: neither a folder with run.json nor an id in "
        f"{short(str(reports), 300)}"
    )


def save_strip(path: Path, strip: np.ndarray) -> None:
    """Write sample images side by side, uint8 (H, W, C) with C of 1 or 3, as a PNG."""
    from PIL import Image

    image = Image.fromarray(strip[..., 0] if strip.shape[-1] == 1 else strip)
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")
