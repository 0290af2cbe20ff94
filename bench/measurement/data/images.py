"""Encoded images to one array: decode, crop, resize, and keep the result in the cache.

Images are streamed and written one by one, so memory stays flat; the array is mapped, not read.
Resizing crops the centre square of the shorter side and resamples it with Pillow's bicubic filter
(a = -0.5). Pillow widens the filter by the scale, so it is antialiased; Parmar, Zhang and Zhu
(2022, clean-fid) show that filters of fixed width, the default of OpenCV and PyTorch, alias and
move FID by several points, and take this one as the reference. As in clean-fid each channel is
resampled in float and rounded once: on uint8 Pillow would clip between the two passes too, which
moves sharp edges by up to eight levels.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
import torch
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import track
from torch import Tensor

from bench.core.errors import InputError
from bench.core.printable import short
from bench.system import artifacts, disk
from bench.system.host import threads

# Raise this when an edit changes a pixel: cached arrays of other versions are not used.
VERSION = 1
FILTER = Image.Resampling.BICUBIC
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# Modes that Pillow converts to eight-bit RGB without clipping, as it would 16-bit grey (I;16).
PIXELS = 1 << 26
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Collection:
    """Encoded images in a fixed order.

    Attributes:
        source: the folder or file they lie in, for messages.
        count: how many there are.
        content: a hash that changes with their content.
        read: starts a stream of (name, encoded bytes).
    """

    source: Path
    count: int
    content: str
    read: Callable[[], Iterable[tuple[str, bytes]]]


def load(collection: Collection, size: int | None = None, channels: int | None = None) -> Tensor:
    """Load a collection from the cache, decoding it first where it is not there.

    Args:
        collection: the images.
        size: edge of the square images in pixels; None keeps them as they are.
        channels: 3 (RGB) or 1 (grey); None is 1 where every image is stored in mode L, else 3.

    Returns:
        uint8 (N, C, H, W), mapped from the cache and read-only.

    Raises:
        InputError: an unreadable or too small image, mixed sizes without `size`, a full disk.
    """
    version = f"{VERSION} pillow {PIL.__version__}"
    key = f"{collection.content} {collection.count} {size} {channels} {FILTER.name} {version}"
    path = disk.cache_root() / "data" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
    if not artifacts.intact(path, path.name):
        with warnings.catch_warnings():
            # Too large images are refused below, with a message of their own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            known = (channels, size, size) if channels and size else None
            _write(collection, path, known or survey(collection, size, channels), size)
    return _mapped(path)


def survey(collection: Collection, size: int | None, channels: int | None) -> tuple[int, int, int]:
    """The common (C, H, W) of a collection from the heads of its images.

    Raises:
        InputError: an unreadable image, or images of several sizes where `size` is None.
    """
    grey, first, common = True, "", (0, 0)
    for name, data in watched(collection.read(), collection.count, "look at images"):
        with named(collection.source, name):
            head = opened(data)
        grey = grey and head.mode == "L"
        if not first:
            first, common = name, head.size
        if size is None and head.size != common:
            raise InputError(
                f"{collection.source}: {first} is {common[0]}x{common[1]} and {name} "
                f"{head.size[0]}x{head.size[1]}: give one size as folder:PATH@SIZE"
            )
    width, height = (size, size) if size else common
    return channels or (1 if grey else 3), height, width


def watched(items: Iterable[Item], count: int, text: str) -> Iterable[Item]:
    """Pass the items on; on a terminal a bar on stderr shows how far they are."""
    console = Console(stderr=True)
    return track(
        items, text, count, console=console, transient=True, disable=not console.is_terminal
    )


@contextlib.contextmanager
def named(source: Path, name: str) -> Iterator[None]:
    """Turn whatever a decoder raises inside the block into one line that names the image."""
    try:
        yield
    # Pillow names the stream that it was given.
    except UnidentifiedImageError:
        raise InputError(
            f"{source}: {short(name)} is not a readable image (no {', '.join(FORMATS)})"
        ) from None
    # Its decoders raise nearly every exception on damaged bytes.
    except Exception as error:
        reason = short(str(error), 200) or type(error).__name__
        raise InputError(f"{source}: {short(name)} is not a readable image ({reason})") from None


def opened(data: bytes) -> Image.Image:
    """An image whose head is read.

    Raises:
        ValueError: one without pixels, with more than an image of a data set has, with more than
            eight bits a channel, or one that moves. Pillow raises these and others for bytes that
            are no image.
    """
    image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if not 0 < width * height <= PIXELS:
        raise ValueError(f"it has {width}x{height} pixels")
    # Pillow reads 16-bit PNG in colour as eight bits without a word.
    deep = image.format == "PNG" and data[24] > 8
    if image.mode not in MODES or deep:
        mode = f"{image.mode} of 16 bits" if deep else image.mode
        raise ValueError(f"mode {mode} is not 8 bits a channel")
    # JPEG is left out: phones put a second, smaller picture behind the first.
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise ValueError("it is animated: keep one of its pictures")
    return image


def decode(data: bytes, channels: int) -> Image.Image:
    """Decode an image to RGB (3 channels) or grey (1).

    The EXIF orientation and colour profiles are ignored, as training code does.

    Raises:
        ValueError: as for `opened`, or pixels that are not opaque.
    """
    return opaque(opened(data), channels)


def opaque(image: Image.Image, channels: int) -> Image.Image:
    """The pixels of an opened image in RGB (3 channels) or grey (1).

    Raises:
        ValueError: pixels that are not opaque. Pillow raises others for damaged bytes.
    """
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("it has transparent pixels: flatten it first")
    return image.convert("RGB" if channels == 3 else "L")


def resize(image: Image.Image, size: int) -> np.ndarray:
    """Crop the centre square of the shorter side, then resample it to uint8 (C, size, size).

    Raises:
        ValueError: the shorter side is less than `size`.
    """
    width, height = image.size
    side = min(width, height)
    if side < size:
        raise ValueError(f"{width}x{height} is smaller than {size}x{size}")
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    if side == size:
        return planes(square)
    bands = [band.convert("F").resize((size, size), FILTER) for band in square.split()]
    values = np.stack([np.asarray(band) for band in bands])
    return np.rint(values).clip(0, 255).astype(np.uint8)


def planes(image: Image.Image) -> np.ndarray:
    """The pixels of an RGB or grey image, uint8 (C, H, W)."""
    return np.stack([np.asarray(band) for band in image.split()])


def _convert(item: tuple[str, bytes], source: Path, channels: int, size: int | None) -> bytes:
    """The pixels of one image as the bytes of (C, H, W)."""
    name, data = item
    with named(source, name):
        image = decode(data, channels)
        return (planes(image) if size is None else resize(image, size)).tobytes()


def _write(
    collection: Collection, path: Path, shape: tuple[int, int, int], size: int | None
) -> None:
    """Decode a collection into an .npy file of uint8 (N, *shape), whole or not at all."""
    count, workers = 0, threads()
    convert = partial(_convert, source=collection.source, channels=shape[0], size=size)
    header = {"descr": "|u1", "fortran_order": False, "shape": (collection.count, *shape)}
    stream = iter(watched(collection.read(), collection.count, "decode images"))
    with (
        artifacts.writing(path, path.name) as output,
        ThreadPoolExecutor(workers) as pool,
    ):
        np.lib.format.write_array_header_1_0(output, header)
        # The stream is mapped in chunks: `map` on the whole stream would read all of it first.
        while chunk := list(islice(stream, 4 * workers)):
            for pixels in pool.map(convert, chunk):
                output.write(pixels)
            count += len(chunk)
        if count != collection.count:
            raise InputError(
                f"{collection.source}: {count} images were read, not {collection.count}"
            )


def _mapped(path: Path) -> Tensor:
    """Map a cached array read-only."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise disk.cannot_read(path, error) from None
    with warnings.catch_warnings():
        # torch has no read-only tensors and warns; nothing writes to a data set.
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")
        return torch.from_numpy(array)
