"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 + 10,000 grey images of 28x28 pixels.

The files are gzip-compressed IDX: a big-endian magic number 0x00000803 (unsigned bytes, three
axes), the three sizes, then the pixels (https://github.com/zalandoresearch/fashion-mnist). They
are looked for in `BENCH_DATA/fashion-mnist`, then in the folder of the Debian package
`dataset-fashion-mnist`, then in bench's cache. Nothing is downloaded here: `bench fetch
fashion-mnist` does that when it is asked to, by HTTPS from a pinned commit of the authors'
repository, and keeps a file only where its SHA-256 is that of the published one. The files of the
Debian package hold the same pixels; the name and time in their gzip headers are left out.
"""

from __future__ import annotations

import gzip
import stat
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import InputError
from bench.measurement.data import places
from bench.system.disk import cache_root

if TYPE_CHECKING:
    from torch import Tensor

FILES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
# Limit of a file; the training images have 47 MB.
LIMIT = 1 << 28
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SOURCE = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)
SHA256 = {
    FILES["train"]: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    FILES["test"]: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
}
MEGABYTES = 31


def read_idx(path: Path) -> Tensor:
    """Read a gzip IDX file of images as uint8 of shape (N, 1, H, W).

    Raises:
        InputError: the file is no gzip, no three-axis IDX of bytes, or truncated.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("no regular file")
        # A file may decompress to far more than its header states.
        with gzip.open(path) as stream:
            data = stream.read(LIMIT)
        magic, count, height, width = struct.unpack(">IIII", data[:16])
        if magic != 0x803 or len(data) != 16 + count * height * width or not height * width:
            raise ValueError("wrong magic number or length")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip IDX image file ({error})") from None
    pixels = np.frombuffer(data, np.uint8, offset=16).reshape(count, 1, height, width)
    # Whether the files are here is asked without it.
    import torch

    return torch.from_numpy(pixels.copy())


def load(split: str) -> Tensor:
    """Load the images of a split ("train" or "test") in the file's order, uint8 (N, 1, 28, 28).

    Raises:
        InputError: unknown split, or the files are nowhere.
    """
    places.check_split(split)
    downloaded = cache_root() / "data" / "FashionMNIST" / "raw"
    for folder in places.folders("fashion-mnist", DEBIAN, downloaded):
        if (folder / FILES[split]).exists():
            return read_idx(folder / FILES[split])
    raise InputError(
        f"Fashion-MNIST not found: `bench fetch fashion-mnist` downloads it once ({MEGABYTES} MB, "
        f"by HTTPS); offline, install the Debian package dataset-fashion-mnist, or put "
        f"{FILES['train']} and {FILES['test']} into $BENCH_DATA/fashion-mnist"
    )
