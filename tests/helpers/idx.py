"""A tiny Fashion-MNIST in the files of the real one."""

from __future__ import annotations

import gzip
import struct

import numpy as np


def write_fashion(folder, count):
    """Write random pictures as both splits; return the folder of data sets."""
    place = folder / "fashion-mnist"
    place.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    for stem in ("train", "t10k"):
        header = struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape)
        with gzip.open(place / f"{stem}-images-idx3-ubyte.gz", "wb") as stream:
            stream.write(header + pixels.tobytes())
    return folder
