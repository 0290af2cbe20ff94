"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 + 10,000 grey images of 28x28 pixels.

The files are gzip-compressed IDX: a big-endian magic number 0x00000803 (unsigned bytes, three
axes), the three sizes, then the pixels (https://github.com/zalandoresearch/fashion-mnist). They
are looked for in `BENCH_DATA/fashion-mnist`, then in the folder of the Debian package
`dataset-fashion-mnist`, then in bench's cache; failing that they are downloaded into the cache by
torchvision.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.data import places
from bench.errors import InputError
from bench.store import cache_root

FILES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> Tensor:
    """Read a gzip IDX file of images as uint8 of shape (N, 1, H, W).

    Raises:
        InputError: the file is no gzip, no three-axis IDX of bytes, or truncated.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        magic, count, height, width = struct.unpack(">IIII", data[:16])
        if magic != 0x803 or len(data) != 16 + count * height * width:
            raise ValueError("wrong magic number or length")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip IDX image file ({error})") from None
    pixels = np.frombuffer(data, np.uint8, offset=16).reshape(count, 1, height, width)
    return torch.from_numpy(pixels.copy())


def load(split: str) -> Tensor:
    """Load the images of a split ("train" or "test") in the file's order, uint8 (N, 1, 28, 28).

    Raises:
        InputError: unknown split, or the files are nowhere and cannot be downloaded.
    """
    places.check_split(split)
    downloaded = cache_root() / "data" / "FashionMNIST" / "raw"
    for folder in places.folders("fashion-mnist", DEBIAN, downloaded):
        if (folder / FILES[split]).exists():
            return read_idx(folder / FILES[split])
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(cache_root() / "data", download=True)
    except (OSError, RuntimeError):
        raise InputError(
            f"Fashion-MNIST not found: put {FILES['train']} and {FILES['test']} into "
            "$BENCH_DATA/fashion-mnist, or install the Debian package dataset-fashion-mnist"
        ) from None
    return read_idx(downloaded / FILES[split])
