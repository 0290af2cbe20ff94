"""Any folder or zip archive of images, by the name `folder:PATH` or `folder:PATH@SIZE`.

The files are PNG, JPEG, WebP or BMP, in sub-folders or not, sorted by their path within the folder
by code point; images of other kinds are refused. Where there is a folder `train` at the top
(folders that all images share are passed over) and beside it `test`, else `val`, these are the
splits and other images belong to none, which is said; elsewhere every tenth image, those with
index % 10 == 9, is the test split and the others are the training split. The names are taken in
upper and lower case, and `valid` and `validation` for `val`. With SIZE the images are cropped and
resized as in `bench.measurement.data.images`, without it they must all have one size. They are
RGB, or grey where every file of the split is stored as eight-bit grey.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from torch import Tensor

from bench.core.errors import InputError
from bench.core.printable import short
from bench.measurement.data import containers, images, places

# Names of folders, in lower case, and the split that each means.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}


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
    names = containers.only_images(path)
    chosen = split_names(names, split, str(path))
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
        InputError: no such folder or zip, no images in it, or folders of splits that do not fit.
    """
    path, _ = parse(argument)
    split_names(containers.only_images(path), "test", str(path))


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


def split_names(names: Sequence[str], split: str, label: str) -> list[str]:
    """The names of a split, in order, out of all names of the folder.

    Args:
        names: of the images.
        split: "train" or "test".
        label: the folder, for messages.

    Raises:
        InputError: folders of which one is a split and none the other, or two are the same.
    """
    parts = [name.split("/") for name in names]
    top = 0
    while len({tuple(part[: top + 1]) for part in parts}) == 1 and len(parts[0]) > top + 1:
        top += 1
    tops = [part[top] if len(part) > top + 1 else "" for part in parts]
    folders = _folders(set(tops) - {""}, label)
    if not folders:
        tenth = [index % 10 == 9 for index in range(len(names))]
        return [n for n, is_test in zip(names, tenth, strict=True) if is_test == (split == "test")]
    left = len(names) - sum(tops.count(folder) for folder in folders.values())
    if left:
        kept = " nor ".join(folders.values())
        containers.say_once(
            f"{label}: {left} of {len(names)} images are in neither {kept}: passed over"
        )
    return [name for name, first in zip(names, tops, strict=True) if first == folders[split]]


def _folders(present: Collection[str], label: str) -> dict[str, str]:
    """The folder of each split; {} where no folder has the name of one."""
    named: dict[str, list[str]] = {}
    for folder in sorted(present):
        if word := SPLITS.get(folder.lower()):
            named.setdefault(word, []).append(folder)
    for same in named.values():
        if len(same) > 1:
            raise InputError(
                f"{label}: {' and '.join(same)} are names of one split: keep one of these folders"
            )
    folders = {word: same[0] for word, same in named.items()}
    test = folders.get("test") or folders.get("val")
    if not folders:
        return {}
    if "train" not in folders or test is None:
        there = " and ".join(folders.values())
        wanted = "train" if test else "test or val"
        raise InputError(
            f"{label}: holds a folder {there} and none named {wanted} beside it: rename the "
            f"folders train and test, or name one folder of images, as in folder:{label}/{there}"
        )
    return {"train": folders["train"], "test": test}
