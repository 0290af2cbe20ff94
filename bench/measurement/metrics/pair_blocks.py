"""Pairs of images, read block by block and measured by any number of functions at a time.

Images from elsewhere are decoded whenever they are read, so each block is read once for all
functions. Blocks are read and measured in threads; no more of them are in memory than there are
threads and two, whatever the number of images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from bench.core.errors import InputError, NotMeasured
from bench.core.shards import SameSize, Shards, same_sizes
from bench.system import host

# Images at once; of large ones as many as have so many values, an eighth of that in each thread.
BATCH = 64
VALUES = 1 << 24

Images = np.ndarray | Shards
Key = TypeVar("Key", bound=Hashable)
# What a function says of each pair, (B,), or why it is not defined for images of such a size.
Outcome = np.ndarray | NotMeasured


@dataclass(frozen=True)
class PairFunction:
    """A number of each pair.

    Attributes:
        measure: (images, twins), uint8 (B, C, H, W), -> (B,), each pair by itself, so that blocks
            do not matter; it raises NotMeasured where it is not defined.
        parallel: whether it may run in several threads at once; not what has threads of its own.
    """

    measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
    parallel: bool = True

    def __call__(self, images: np.ndarray, twins: np.ndarray) -> Outcome:
        """Measure a block."""
        try:
            return self.measure(images, twins)
        except NotMeasured as reason:
            return reason


def per_image(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    images: Images,
    twins: Images,
    parallel: bool = True,
) -> np.ndarray:
    """What one `PairFunction` says of each pair, (N,).

    Raises:
        InputError: images and twins do not pair up.
        NotMeasured: it is not defined for them.
    """
    outcome = together({"": PairFunction(measure, parallel)}, images, twins)[""]
    if isinstance(outcome, NotMeasured):
        raise outcome
    return outcome


def together(
    functions: Mapping[Key, PairFunction], images: Images, twins: Images
) -> dict[Key, Outcome]:
    """What each function says of all pairs, (N,), or why it is not defined for them.

    Raises:
        InputError: images and twins do not pair up.
    """
    groups = same_sizes(images)
    if groups != same_sizes(twins):
        raise InputError(f"images {images.shape} and twins {twins.shape} do not pair up")
    parts: dict[Key, list[np.ndarray]] = {key: [] for key in functions}
    refused: dict[Key, NotMeasured] = {}
    for group in groups:
        for outcomes in _measured(functions, images, twins, group, refused):
            for key, outcome in outcomes.items():
                if isinstance(outcome, NotMeasured):
                    refused.setdefault(key, outcome)
                else:
                    parts[key].append(outcome)
    return {
        key: refused[key] if key in refused else np.concatenate(parts[key]) for key in functions
    }


def _measured(
    functions: Mapping[Key, PairFunction],
    images: Images,
    twins: Images,
    group: SameSize,
    refused: Mapping[Key, NotMeasured],
) -> Iterator[dict[Key, Outcome]]:
    """The outcomes of each block of a size, in order, of functions that are not refused yet."""
    each = max(1, int(np.prod(group.shape)))
    workers = max(1, min(host.threads(), VALUES // each))
    size = max(1, min(BATCH, VALUES // 8 // each))
    alone = {key: function for key, function in functions.items() if not function.parallel}

    def apply(
        chosen: Mapping[Key, PairFunction], block: tuple[np.ndarray, np.ndarray]
    ) -> dict[Key, Outcome]:
        return {k: function(*block) for k, function in chosen.items() if k not in refused}

    def read(start: int) -> tuple[dict[Key, Outcome], tuple[np.ndarray, np.ndarray] | None]:
        rows = slice(start, min(start + size, group.stop))
        block = images[rows], twins[rows]
        in_threads = {k: function for k, function in functions.items() if function.parallel}
        return apply(in_threads, block), block if alone else None

    for outcomes, block in _in_order(read, range(group.start, group.stop, size), workers):
        # These run here, while the threads go on with the next blocks.
        yield outcomes | (apply(alone, block) if block else {})


def _in_order(work: Callable[[int], Any], starts: Iterable[int], workers: int) -> Iterator[Any]:
    """The results of work in order, by some threads, without running far ahead."""
    if workers == 1:
        yield from map(work, starts)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        for start in starts:
            waiting.append(pool.submit(work, start))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
