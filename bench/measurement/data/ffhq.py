"""FFHQ (Karras, Laine and Aila 2019): 60,000 + 10,000 faces, here 64x64 pixels.

https://github.com/NVlabs/ffhq-dataset publishes 70,000 PNG files with numbers for names, in
sub-folders of a thousand (`00000/00000.png`); numbers below 60000 are the training split, the
others the test split. `dataset_tool.py` of StyleGAN and EDM writes the same images as
`00000/img00000000.png`. A folder or a zip of either is read as it is, at any size from 64 pixels;
other sizes are resized as in `bench.measurement.data.images`. Other files are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from bench.core.errors import InputError
from bench.measurement.data import containers, images, places

NAME = "ffhq"
SIZE = 64
NUMBERS = {"train": range(60_000), "test": range(60_000, 70_000)}
ARCHIVES = ("ffhq-64x64.zip", "ffhq.zip", "thumbnails128x128.zip")
_NUMBER = re.compile(r"(?:.*/)?(?:img)?([0-9]+)\.png")


def load(split: str, most: int = 0) -> Tensor:
    """Load the images of a split in the order of their numbers, uint8 (N, 3, 64, 64); where `most`
    is not 0, that many alone, spread over the split.

    Raises:
        InputError: unknown split, missing files, a number that is absent or there twice, or a
            damaged image.
    """
    places.check_split(split)
    path = _find()
    names: dict[int, str] = {}
    for name in containers.image_names(path):
        if match := _NUMBER.fullmatch(name):
            number = int(match[1])
            if number in names:
                raise InputError(
                    f"{path}: number {number} is there twice: {names[number]}, {name}"
                )
            names[number] = name
    absent = [number for number in NUMBERS[split] if number not in names]
    if absent:
        raise InputError(
            f"{path}: {len(absent)} of {len(NUMBERS[split])} images of the split {split} are "
            f"missing, the first is number {absent[0]}"
        )
    chosen = places.spread([names[number] for number in NUMBERS[split]], most)
    return images.load(containers.collection(path, chosen), SIZE, channels=3)


def _find() -> Path:
    """The archive with the images, or the folder that has them in it or in its sub-folders."""
    if archive := places.find(NAME, ARCHIVES):
        return archive
    for folder in places.folders(NAME):
        if folder.is_dir() and containers.image_names(folder):
            return folder
    raise places.missing(NAME, f"{' or '.join(ARCHIVES)} or the folders of PNG files")
