"""Image files in a folder or a zip archive: their names, and their bytes as a `Collection`.

A name is the path relative to the folder, or the member's name in the archive, with "/" between
its parts. Hidden files and the `__MACOSX` folder that macOS adds to archives are left out.
Archives are read in place and never extracted (format: PKWARE's APPNOTE.TXT).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

from bench import disk
from bench.data.images import Collection, watched
from bench.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# No encoded image is larger; a damaged or hostile archive may say that one is.
LIMIT = 1 << 28
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile)


def image_names(path: Path) -> list[str]:
    """Names of the images in a folder or zip archive, sorted.

    Raises:
        InputError: neither of them, unreadable, or an archive with a name twice.
    """
    if path.is_dir():
        return sorted(filter(_is_image, _files(path)))
    with _archive(path) as archive:
        names = sorted(filter(_is_image, archive.namelist()))
    for name, following in pairwise(names):
        if name == following:
            raise InputError(f"{path}: holds {name} twice")
    return names


def collection(path: Path, names: Sequence[str]) -> Collection:
    """The named images of a folder or zip archive, in the order given.

    The content key of an archive holds names and CRC-32 of its directory, that of a folder names,
    sizes and SHA-256 of the files.

    Raises:
        InputError: neither of them, or unreadable.
    """
    if path.is_dir():
        content = _digest(_folder_lines(path, names))
        return Collection(path, len(names), content, lambda: _read_folder(path, names))
    with _archive(path) as archive:
        infos = [archive.getinfo(name) for name in names]
    content = _digest(f"{info.filename}\0{info.file_size}\0{info.CRC}" for info in infos)
    return Collection(path, len(names), content, lambda: _read_archive(path, names))


def _is_image(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})")

    for parent, _, files in os.walk(folder, onerror=stop, followlinks=True):
        for file in files:
            yield (Path(parent) / file).relative_to(folder).as_posix()


def _folder_lines(folder: Path, names: Sequence[str]) -> Iterator[str]:
    for name in watched(names, len(names), "hash images"):
        path = folder / name
        try:
            yield f"{name}\0{path.stat().st_size}\0{disk.sha256(path)}"
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _read_folder(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        try:
            yield name, (folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror})") from None


def _archive(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise InputError(f"{path}: no folder or zip archive there")
    try:
        return zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise InputError(f"{path}: not a whole zip archive ({error})") from None


def _read_archive(path: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    with _archive(path) as archive:
        for name in names:
            info = archive.getinfo(name)
            if info.file_size > LIMIT:
                raise InputError(f"{path}: {name} has {info.file_size} bytes, no image has")
            try:
                data = archive.read(info)
            except _DAMAGED as error:
                raise InputError(f"{path}: {name} cannot be read ({error})") from None
            yield name, data
