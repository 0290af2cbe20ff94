"""Arrays on disk, one file after the other, read block by block: memory does not grow with N."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1000


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
        values = np.concatenate([self.load(path) for path in self.paths[first : last + 1]])
        return values[start - first * self.size : stop - first * self.size]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def blocks(values: Any, size: int = BLOCK) -> Iterator[np.ndarray]:
    """The rows of an array or of shards in float64, `size` at a time."""
    for start in range(0, len(values), size):
        yield np.asarray(values[start : start + size], np.float64)
