"""Pictures that were made elsewhere, by their names without suffix: a folder, a zip or an .npz.

They are decoded whenever they are asked for, so that neither memory nor disk grows with their
number, and as they are: nothing is cropped, resized or rotated. An .npz holds uint8 arrays, either
one stack (N, H, W, C) or (N, H, W), as ADM's samples are stored, whose names are six digits from
000000 on, or one array (H, W, C) or (H, W) for each picture.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import Any

import numpy as np

from bench.core import border, npz
from bench.core.errors import InputError
from bench.core.printable import short
from bench.core.shards import SameSize, Shards
from bench.measurement.data import containers, images
from bench.system import artifacts, disk, host

VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".npz", ".parquet")
ORIENTATION, UPRIGHT = 0x0112, 1


@dataclass(frozen=True)
class Pictures:
    """Pictures of one place.

    Attributes:
        path: of the folder or file.
        names: names without suffix, sorted.
        read: decodes the picture of a name, uint8 (C, H, W) with C of 1 or 3, in any thread;
            raises InputError where it cannot be scored.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[str], np.ndarray]


def find(path: Path) -> Pictures:
    """The pictures of a folder, zip archive or .npz; none is decoded.

    Raises:
        InputError: none of them, no pictures in it, something else among them, or two pictures
            whose names differ in the suffix alone.
    """
    if path.suffix.lower() == ".npz" and not border.is_folder(path):
        return _npz(path)
    if path.name.lower().endswith(VIDEOS):
        raise InputError(f"{path} is a video: write its frames as PNG into a folder")
    listed = containers.file_names(path)
    _refuse_others(path, listed)
    files: dict[str, str] = {}
    for name in containers.only_images(path, listed):
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in files:
            raise InputError(
                f"{path}: {short(files[stem])} and {short(name)} have one name but for the "
                f"suffix, by which pictures are paired: keep one of them"
            )
        files[stem] = name
    load = containers.reader(path)

    def read(stem: str) -> np.ndarray:
        data = load(files[stem])
        with images.named(path, files[stem]):
            return decoded(data)

    return Pictures(path, tuple(sorted(files)), read)


def _refuse_others(path: Path, listed: Sequence[str]) -> None:
    """Refuse what would be missing among the pictures without a word."""
    for name in listed:
        if name.lower().endswith(VIDEOS):
            raise InputError(f"{path}: {short(name)} is a video: write its frames as PNG")
        if name.lower().endswith(ARCHIVES):
            raise InputError(
                f"{path}: {short(name)} is an archive among the pictures: name it by itself, or "
                f"take it out"
            )


def decoded(data: bytes) -> np.ndarray:
    """An encoded picture as it is, uint8 (C, H, W): grey (C of 1) where it is stored as grey.

    Raises:
        ValueError: no picture, or one that says no single RGB or grey value for each pixel: it is
            animated, of 16 bits, transparent, CMYK or to be turned.
    """
    image = images.opened(data)
    if image.mode == "CMYK":
        raise ValueError("mode CMYK has no one colour in RGB: save it as RGB")
    if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
        raise ValueError("its EXIF tag turns or mirrors it: save its pixels upright")
    return images.planes(images.opaque(image, 1 if image.mode in ("1", "L", "LA") else 3))


def _npz(path: Path) -> Pictures:
    if not border.is_file(path):
        raise InputError(f"{short(str(path))}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
            _check_archive(path, archive)
            stored = {name: _mapped(path, archive, info) for name, info in infos.items()}
    except (InputError, disk.MachineError):
        raise
    # The readers of archives raise nearly every exception on damaged bytes.
    except Exception as error:
        raise InputError(f"{path}: not a whole .npz ({short(str(error), 200)})") from None
    if not stored:
        raise InputError(f"{path}: holds no arrays")
    if len(stored) == 1 and (stack := _stack(*stored.values())) is not None:
        count = len(stack)
        stored = {f"{k:06d}": stack[k] for k in range(count)}

    def read(name: str) -> np.ndarray:
        with images.named(path, name):
            return _planes(stored[name])

    return Pictures(path, tuple(sorted(stored)), read)


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    """Make sure of what an archive of arrays states, before any of it is unpacked.

    Raises:
        InputError: a name twice, or more than the disk of the cache has room for.
        ValueError: an array of no numbers, or of another size than its shape.
    """
    infos = archive.infolist()
    names = Counter(info.filename.removesuffix(".npy") for info in infos)
    double = next((name for name, count in names.items() if count > 1), None)
    if double is not None:
        raise InputError(f"{path}: {short(double)} is there twice: keep one of them")
    size, room = sum(info.file_size for info in infos), disk.room(disk.cache_root())
    if size > room:
        raise InputError(
            f"{path}: unfolds to {size} bytes, and the disk of {disk.cache_root()} has {room}: "
            f"make room, or set BENCH_CACHE to another disk"
        )
    for info in infos:
        with archive.open(info) as stream:
            npz.check_header(stream, info.file_size, info.filename)


def _stack(array: np.ndarray) -> np.ndarray | None:
    """An array of several pictures; None for one picture."""
    is_one = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    return None if is_one else array


def _planes(array: np.ndarray) -> np.ndarray:
    """A stored picture as uint8 (C, H, W)."""
    if array.dtype != np.uint8:
        raise ValueError(f"it is of {array.dtype}, not uint8")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(f"its shape {list(array.shape)} is not (H, W), (H, W, 1) or (H, W, 3)")
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def _mapped(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """An array of an .npz, unpacked into the cache and mapped: it may be larger than memory."""
    identity = f"{path.name} {path.stat().st_mtime_ns} {info.filename} {info.file_size} {info.CRC}"
    key = hashlib.sha256(identity.encode(errors="backslashreplace")).hexdigest()[:32]
    target = disk.cache_root() / "data" / f"{key}.npy"
    if not artifacts.intact(target, target.name):
        with archive.open(info) as source, artifacts.writing(target, target.name) as output:
            sink: Any = output
            copyfileobj(source, sink, 1 << 20)
    array: np.ndarray = np.load(target, mmap_mode="r", allow_pickle=False)
    return array


class PictureRows(Shards):
    """Pictures as rows (N, C, H, W) in an order of names, decoded when rows are asked for.

    Args:
        pictures: of one place.
        names: of the rows; those of a size follow each other.
        sizes: (height, width) of each row.
        channels: 1 or 3; grey pictures have three equal channels where it is 3.
    """

    def __init__(
        self,
        pictures: Pictures,
        names: tuple[str, ...],
        sizes: tuple[tuple[int, int], ...],
        channels: int,
    ) -> None:
        self.pictures, self.names, self.sizes, self.channels = pictures, names, sizes, channels
        self.length, self.dtype = len(names), np.dtype(np.uint8)
        self.groups = _groups(sizes, channels)
        first = self.groups[0].shape
        mixed: tuple[Any, ...] = (channels, None, None)
        self.shape = (self.length, *(first if len(self.groups) == 1 else mixed))

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows of a slice without a step, within one size."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("pictures are read in order")
        names = self.names[start:stop]
        with ThreadPoolExecutor(max(1, min(host.threads(), len(names)))) as pool:
            return np.stack(list(pool.map(self._row, names, self.sizes[start:stop])))

    def _row(self, name: str, size: tuple[int, int]) -> np.ndarray:
        picture = self.pictures.read(name)
        if picture.shape[1:] != size:
            raise InputError(f"{self.pictures.path}: {short(name)} changed while it was scored")
        shape = (self.channels, *size)
        return picture if picture.shape == shape else np.broadcast_to(picture, shape)


def _groups(sizes: tuple[tuple[int, int], ...], channels: int) -> tuple[SameSize, ...]:
    """Where rows of each size start and stop."""
    starts = [0, *(k for k in range(1, len(sizes)) if sizes[k] != sizes[k - 1])]
    stops = [*starts[1:], len(sizes)]
    return tuple(
        SameSize(start, stop, (channels, *sizes[start]))
        for start, stop in zip(starts, stops, strict=True)
    )


def strip(rows: PictureRows, count: int = 16, side: int = 128) -> np.ndarray:
    """The first pictures side by side as squares, uint8 (S, count * S, C): their middles, S of at
    most `side` pixels and of what the smallest of them has."""
    from PIL import Image

    shown = rows.sizes[:count]
    size, tiles = min([side, *map(min, shown)]), []
    for k in range(len(shown)):
        pixels = rows[k : k + 1][0].transpose(1, 2, 0)
        image = Image.fromarray(pixels[..., 0] if rows.channels == 1 else pixels)
        tiles.append(images.resize(image, size).transpose(1, 2, 0))
    return np.concatenate(tiles, axis=1)


def counted(sizes: tuple[tuple[int, int], ...]) -> Mapping[str, int]:
    """Number of pictures by width x height."""
    return dict(Counter(f"{width}x{height}" for height, width in sizes))
