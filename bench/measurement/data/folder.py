"""Any folder or zip archive of images, by the name `folder:PATH` or `folder:PATH@SIZE`.

The files are PNG, JPEG, WebP or BMP, in sub-folders or not, sorted by their path within the folder
by code point. Where there are folders `train` and `test` side by side at the top (folders that all
images share are passed over), these are the splits and other images belong to none; elsewhere
every tenth image, those with index % 10 == 9, is the test split and the others are the training
split. With SIZE the images are cropped and resized as in `bench.measurement.data.images`, without
it they must all have one size. They are RGB, or grey where every file of the split is stored as
eight-bit grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from bench.core.errors import InputError
from bench.core.printable import short
from bench.measurement.data import containers, images, places


def load(split: str, argument: str = "", most: int = 0) -> Tensor:
    """Load the images of a split, uint8 (N, C, H, W).

    Args:
        split: "train" or "test".
        argument: PATH or PATH@SIZE; a relative path starts at the working folder.
        most: read that many alone, spread over the split; 0 for all.

    Raises:
        InputError: unknown split, no such folder or zip, no images in the split, an unreadable
            image, or images of several sizes without SIZE.
    """
    places.check_split(split)
    path, size = parse(argument)
    names = containers.image_names(path)
    if not names:
        raise InputError(f"{path}: holds no {', '.join(containers.SUFFIXES)} files")
    chosen = split_names(names, split)
    if not chosen:
        raise InputError(
            f"{path}: {len(names)} images leave none for the split {split}: "
            "it takes ten, or the sub-folders train and test"
        )
    return images.load(containers.collection(path, places.spread(chosen, most)), size)


def check(argument: str) -> None:
    """Make sure that there are images, without reading one.

    Args:
        argument: as for `load`.

    Raises:
        InputError: no such folder or zip, or no images in it.
    """
    path, _ = parse(argument)
    if not containers.image_names(path):
        raise InputError(f"{path}: holds no {', '.join(containers.SUFFIXES)} files")


def parse(argument: str) -> tuple[Path, int | None]:
    """PATH and SIZE out of `PATH` or `PATH@SIZE`.

    Raises:
        InputError: no path, or a size of 0.
    """
    path, separator, size = argument.rpartition("@")
    if not (separator and size.isascii() and size.isdigit() and len(size) < 6):
        path, size = argument, ""
    if not path or (size and int(size) < 1):
        raise InputError(f"folder:{short(argument)}: write folder:PATH or folder:PATH@SIZE")
    try:
        return Path(path).expanduser(), int(size) if size else None
    except RuntimeError:
        raise InputError(f"folder:{short(argument)}: there is no such user's home") from None


def split_names(names: Sequence[str], split: str) -> list[str]:
    """The names of a split, in order, out of all names of the folder."""
    parts = [name.split("/") for name in names]
    top = 0
    while len({tuple(part[: top + 1]) for part in parts}) == 1 and len(parts[0]) > top + 1:
        top += 1
    folders = {part[top] for part in parts if len(part) > top + 1}
    if {"train", "test"} <= folders:
        return [name for name, part in zip(names, parts, strict=True) if part[top] == split]
    tenth = [index % 10 == 9 for index in range(len(names))]
    return [
        name for name, is_test in zip(names, tenth, strict=True) if is_test == (split == "test")
    ]
