"""Small encoded images and archives that the tests of the data sets write."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image


def encode(pixels, form="PNG", **options):
    """Encode uint8 (H, W) or (H, W, C) pixels, or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def flat(value, size=(4, 4)):
    """An RGB image of one colour: (value, value + 1, value + 2)."""
    return np.full((*size, 3), [value, value + 1, value + 2], np.uint8)


def write_folder(folder, contents):
    """Write files by relative path."""
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(path, contents):
    """Write a zip archive of files by member name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path
