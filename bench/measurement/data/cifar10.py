"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 pixels.

https://www.cs.toronto.edu/~kriz/cifar.html publishes five training batches and a test batch of
10,000 images each, in two forms that are read as published, unpacked or in their tar.gz. The
Python form is a pickle of a dictionary whose `data` is uint8 (10000, 3072). The binary form is a
sequence of records of one label byte and 3072 pixels. Pixels are a red, a green and a blue plane,
each in rows. A pickle is read without executing it (`bench.measurement.data.pickles`).
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import InputError
from bench.core.printable import short
from bench.measurement.data import pickles, places

if TYPE_CHECKING:
    from torch import Tensor

NAME = "cifar10"
PER_BATCH = 10_000
PIXELS = 3 * 32 * 32
BATCHES = {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)}
# The published folders and archives; an archive holds the folder.
FORMS = {
    "cifar-10-batches-py": "cifar-10-batches-py",
    "cifar-10-batches-bin": "cifar-10-batches-bin",
    "cifar-10-python.tar.gz": "cifar-10-batches-py",
    "cifar-10-binary.tar.gz": "cifar-10-batches-bin",
}
# Limit of a batch, which has 31 MB: a damaged or hostile archive may state more.
LIMIT = 1 << 26


def load(split: str) -> Tensor:
    """Load the images of a split in the order of the batches, uint8 (N, 3, 32, 32).

    Raises:
        InputError: unknown split, or files that are missing, damaged or not CIFAR-10.
    """
    places.check_split(split)
    path = places.find(NAME, tuple(FORMS))
    if path is None:
        raise places.missing(NAME, "one of " + ", ".join(FORMS))
    folder = FORMS[path.name]
    binary = folder.endswith("-bin")
    names = [f"{batch}.bin" if binary else batch for batch in BATCHES[split]]
    contents = _read_folder(path, names) if path.is_dir() else _read_tar(path, folder, names)
    parse = parse_binary if binary else parse_pickle
    parts = [parse(contents.pop(name), f"{path}: {name}") for name in names]
    # Whether the files are here is asked without it.
    import torch

    return torch.from_numpy(np.concatenate(parts).reshape(-1, 3, 32, 32))


def parse_binary(data: bytes, label: str) -> np.ndarray:
    """The pixels of a binary batch, uint8 (N, 3072); `label` names it in errors.

    Raises:
        InputError: another length, or a label byte above 9.
    """
    if len(data) != PER_BATCH * (1 + PIXELS):
        raise InputError(
            f"{label}: has {len(data)} bytes, not {PER_BATCH} records of {1 + PIXELS}"
        )
    records = np.frombuffer(data, np.uint8).reshape(PER_BATCH, 1 + PIXELS)
    if records[:, 0].max() > 9:
        raise InputError(f"{label}: a record has label {records[:, 0].max()}: not CIFAR-10")
    return records[:, 1:]


def parse_pickle(data: bytes, label: str) -> np.ndarray:
    """The pixels of a pickled batch, uint8 (N, 3072); `label` names it in errors.

    Raises:
        InputError: the pickle calls what no array needs, is damaged, or holds other arrays.
    """
    entries = pickles.read(data, label)
    if "data" not in entries:
        raise InputError(f"{label}: the pickle has no entry `data`")
    pixels = pickles.array(entries["data"], label)
    if pixels.shape != (PER_BATCH, PIXELS):
        raise InputError(f"{label}: has shape {pixels.shape}, not {(PER_BATCH, PIXELS)}")
    return pixels


def _read_folder(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    contents = {}
    for name in names:
        path = folder / name
        try:
            # Reading a pipe would hang.
            if path.exists() and not path.is_file():
                raise InputError(f"{path} is no regular file")
            with path.open("rb") as stream:
                contents[name] = stream.read(LIMIT)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return contents


def _read_tar(path: Path, folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """Contents of members `folder`/name, in one pass over the compressed stream."""
    wanted = {PurePosixPath(folder, name): name for name in names}
    contents: dict[str, bytes] = {}
    if not path.is_file():
        raise InputError(f"{path} is no regular file")
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = wanted.get(PurePosixPath(member.name))
                stream = archive.extractfile(member) if name and member.isreg() else None
                if name and stream:
                    contents[name] = stream.read(LIMIT)
                if len(contents) == len(names):
                    return contents
    # The readers of archives raise nearly every exception on damaged bytes.
    except Exception as error:
        raise InputError(
            f"{path}: not a whole tar.gz archive ({short(str(error), 200)})"
        ) from None
    absent = next(name for name in names if name not in contents)
    raise InputError(f"{path}: holds no {folder}/{absent}")
