"""Arrays on disk, one file after the other, read block by block: memory does not grow with N."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BLOCK = 1000


class SameSize(NamedTuple):
    """Rows `start` to `stop` of images, which have one shape (C, H, W)."""

    start: int
    stop: int
    shape: tuple[int, ...]


class Shards:
    """Files of arrays (n_k, ...) as one array (N, ...) along the first axis, cut off at N.

    Args:
        paths: files, in order.
        length: N.
        load: reads a file, whenever rows of it are asked for.

    Attributes:
        shape: shape of the whole array, (N, ...).
        dtype: type of its values.
    """

    def __init__(
        self, paths: Sequence[Path], length: int, load: Callable[[Path], np.ndarray] = np.load
    ) -> None:
        first = load(paths[0])
        self.paths, self.load = list(paths), load
        self.size = len(first)
        self.length, self.shape = length, (length, *first.shape[1:])
        self.dtype = first.dtype

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows of a slice without a step."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("shards are read in order")
        if stop <= start:
            return np.empty((0, *self.shape[1:]), self.dtype)
        first, last = start // self.size, (stop - 1) // self.size
        loaded = [self.load(path) for path in self.paths[first : last + 1]]
        values = np.concatenate(loaded)[start - first * self.size : stop - first * self.size]
        # A file with a row too many or too few would move all that come after it.
        if any(len(rows) != self.size for rows in loaded[:-1]) or len(values) != stop - start:
            raise ValueError(f"{self.paths[first].parent} does not hold rows {start} to {stop}")
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def same_sizes(images: Any) -> tuple[SameSize, ...]:
    """The rows of images (N, C, H, W) by their size: all at once, but for images of mixed sizes,
    which have H and W of None and say by `groups` which rows are alike."""
    groups: tuple[SameSize, ...] = getattr(images, "groups", ())
    return groups or (SameSize(0, len(images), tuple(images.shape[1:])),)


def pieces(images: Any, start: int, stop: int) -> Iterator[np.ndarray]:
    """The rows from `start` to `stop`, those of each size together, in order."""
    for group in same_sizes(images):
        first, last = max(start, group.start), min(stop, group.stop)
        if first < last:
            yield np.asarray(images[first:last])


def blocks(values: Any, size: int = BLOCK) -> Iterator[np.ndarray]:
    """The rows of an array or of shards in float64, `size` at a time."""
    for start in range(0, len(values), size):
        yield np.asarray(values[start : start + size], np.float64)
