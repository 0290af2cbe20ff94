"""Image files in a folder or a zip archive: their names, and their bytes as a `Collection`.

A name is the path relative to the folder, or the member's name in the archive, with "/" between
its parts. Hidden files and the `__MACOSX` folder that macOS adds to archives are left out.
Archives are read in place and never extracted (format: PKWARE's APPNOTE.TXT).
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

from bench.core import border
from bench.core.errors import InputError
from bench.core.printable import say, short
from bench.measurement.data.images import Collection, watched
from bench.system import declared, disk

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Images of these kinds are not read: beside others they would be missing in silence.
OTHERS = (
    ".gif",
    ".tif",
    ".tiff",
    ".jfif",
    ".jpe",
    ".jp2",
    ".j2k",
    ".jxl",
    ".avif",
    ".heic",
    ".heif",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".tga",
    ".exr",
    ".hdr",
    ".dng",
    ".psd",
)
# Limit of an encoded image: a damaged or hostile archive may state more.
LIMIT = 1 << 28


def image_names(path: Path) -> list[str]:
    """Names of the images in a folder or zip archive, sorted.

    Raises:
        InputError: neither of them, unreadable, or an archive with a name twice.
    """
    return _images(path, file_names(path))


def only_images(path: Path, names: Iterable[str] | None = None) -> list[str]:
    """As `image_names`, where every image is to count.

    Args:
        path: the folder or archive.
        names: of its files, where they were listed before.

    Raises:
        InputError: as for `image_names`; images of kinds that are not read; no image.
    """
    names = file_names(path) if names is None else list(names)
    others = [name for name in names if name.lower().endswith(OTHERS)]
    if others:
        kinds = Counter(PurePosixPath(name).suffix.lower() for name in others)
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))
        raise InputError(
            f"{path}: {len(others)} images are of kinds that bench does not read ({counts}; the "
            f"first is {short(min(others))}): convert them to PNG, or take them out"
        )
    image_names = _images(path, names)
    if not image_names:
        raise InputError(f"{path}: holds no {', '.join(SUFFIXES)} files")
    return image_names


def _images(path: Path, names: Iterable[str]) -> list[str]:
    image_names = sorted(name for name in names if name.lower().endswith(SUFFIXES))
    for name, following in pairwise(image_names):
        if name == following:
            raise InputError(f"{path}: holds {name} twice")
    return image_names


def file_names(path: Path) -> list[str]:
    """Names of all files in a folder or zip archive, but for hidden ones, in no order."""
    if border.is_folder(path):
        return list(filter(_is_plain, _files(path)))
    with _archive(path) as archive:
        return [name for name in archive.namelist() if _is_plain(name) and name[-1:] != "/"]


def collection(path: Path, names: Sequence[str]) -> Collection:
    """The named images of a folder or zip archive, in the order given.

    The content key of an archive holds names and CRC-32 of its directory, that of a folder names,
    sizes and SHA-256 of the files.

    Raises:
        InputError: neither of them, or unreadable.
    """
    if border.is_folder(path):
        content = _digest(_folder_lines(path, names))
        return Collection(path, len(names), content, lambda: _read_folder(path, names))
    with _archive(path) as archive:
        infos = [archive.getinfo(name) for name in names]
    content = _digest(f"{info.filename}\0{info.file_size}\0{info.CRC}" for info in infos)
    return Collection(path, len(names), content, lambda: _read_archive(path, names))


def reader(path: Path) -> Callable[[str], bytes]:
    """A function that reads one image of a folder or zip archive by its name, in any thread.

    Raises:
        InputError: neither of them; the function raises it where an image cannot be read.
    """
    if border.is_folder(path):
        return lambda name: next(iter(_read_folder(path, [name])))[1]
    archive = _archive(path)
    return lambda name: _member(path, archive, name)


def _is_plain(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def _files(folder: Path) -> list[str]:
    """Names of the files of a folder, each file and each sub-folder once.

    Links are followed, as data sets are often linked together, into folders that the user declared
    (`bench.system.declared`), but after everything that is there itself: a link to what is already
    taken, such as one to a folder above it, adds nothing.
    """
    names: dict[str, str] = {}
    folders, double = [folder], 0
    links: list[Path] = []
    seen: set[str] = set()
    while folders or links:
        path = folders.pop() if folders else links.pop()
        real_path = os.path.realpath(path)
        if real_path in seen:
            double += 1
            continue
        seen.add(real_path)
        try:
            if not path.is_dir():
                names[real_path] = path.relative_to(folder).as_posix()
                continue
            declared.check(path, real_path, folder)
            with os.scandir(path) as entries:
                # `folders` is a stack: reversed, so that the first name is taken next.
                for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
                    inner = Path(entry.path)
                    if entry.is_symlink():
                        links.append(inner)
                    elif entry.is_dir():
                        folders.append(inner)
                    elif (there := os.path.realpath(inner)) not in seen:
                        seen.add(there)
                        names[there] = inner.relative_to(folder).as_posix()
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    if double:
        say_once(f"{folder}: {double} links lead to what is there already: passed over")
    return list(names.values())


@functools.cache
def say_once(line: str) -> None:
    """A folder is looked at by the check of a data set, by its hash and by its reader."""
    say(line, sys.stderr)


def _folder_lines(folder: Path, names: Sequence[str]) -> Iterator[str]:
    for name in watched(names, len(names), "hash images"):
        path = _regular(folder, name)
        try:
            yield f"{name}\0{path.stat().st_size}\0{disk.sha256(path)}"
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _read_folder(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        path = _regular(folder, name)
        try:
            yield name, path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _regular(folder: Path, name: str) -> Path:
    """The path of an image; a pipe would hang, a device never end.

    Raises:
        InputError: it is no regular file, larger than any image, or a link to elsewhere.
    """
    path = folder / name
    declared.check(path, os.path.realpath(path), folder)
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is a pipe, socket or device, no image: remove it")
    if status.st_size > LIMIT:
        raise InputError(f"{path} has {status.st_size} bytes, no image has")
    return path


def _archive(path: Path) -> zipfile.ZipFile:
    if not border.is_file(path):
        raise InputError(f"{short(str(path))}: no folder or zip archive there")
    try:
        return zipfile.ZipFile(path)
    # The readers of archives raise nearly every exception on damaged bytes.
    except Exception as error:
        raise InputError(f"{path}: not a whole zip archive ({short(str(error), 200)})") from None


def _read_archive(path: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    with _archive(path) as archive:
        for name in names:
            yield name, _member(path, archive, name)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > LIMIT:
        raise InputError(f"{path}: {name} has {info.file_size} bytes, no image has")
    try:
        return archive.read(info)
    except Exception as error:
        raise InputError(
            f"{path}: {short(name)} cannot be read ({short(str(error), 200)})"
        ) from None
