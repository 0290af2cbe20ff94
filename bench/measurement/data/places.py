"""The folders in which the files of a data set are looked for, and the splits.

A data set `NAME` is looked for in `$BENCH_DATA/NAME`, then in places of its own, then in
`data/NAME` of bench's cache. Nothing is downloaded here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import InputError
from bench.system.disk import cache_root

SPLITS = ("train", "test")


def check_split(split: str) -> None:
    """Refuse a split that no data set has.

    Raises:
        InputError: neither "train" nor "test".
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}: use train or test")


def folders(name: str, *more: Path) -> list[Path]:
    """The folders that may hold a data set's files, in the order of search."""
    paths = [*more, cache_root() / "data" / name]
    if given := os.environ.get("BENCH_DATA"):
        paths.insert(0, Path(given) / name)
    return paths


def find(name: str, candidates: Sequence[str]) -> Path | None:
    """The first of the candidate files or folders that exists, or None."""
    paths = (folder / candidate for folder in folders(name) for candidate in candidates)
    return next((path for path in paths if path.exists()), None)


def missing(name: str, files: str) -> InputError:
    """The error for a data set that is not there; `files` names the wanted files."""
    cached = cache_root() / "data" / name
    return InputError(f"{name} not found: put {files} into $BENCH_DATA/{name} or {cached}")


def spread(names: Sequence[str], most: int) -> Sequence[str]:
    """At most `most` names, spread evenly over all of them; all names where it is 0."""
    if not most or len(names) <= most:
        return names
    return [names[k * len(names) // most] for k in range(most)]
