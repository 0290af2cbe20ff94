"""Reference features: those of real images, which generated ones are held against.

One safetensors file for each data set, split and extractor holds the features in float16, every
value a real image's, in the data set's order. It is shipped in bench/zoo or made into the cache
(`bench reference`), or there:

    python -m bench.features.reference fashion-mnist efficientnet [--out bench/zoo] [--split test]

Where there are none, statistics that someone else made of them may stand in their place, an npz of
the same name (`bench.features.statistics`), for metrics that need no more.

The file of a data set with an argument, whose content its name does not tell (`folder:PATH`), is
named by the hash of its images.

The rounding to float16 is at most 2^-11 of a value; docs/metrics.md has its effect on the scores.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bench import names, store, tables
from bench.errors import InputError
from bench.protocols import Features

ZOO = Path(__file__).resolve().parent.parent / "zoo"
BATCH = 100
# Of the images of data sets whose name decides it.
SHAPES = {
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "lsun-tower": (3, 64, 64),
    "ffhq": (3, 64, 64),
}


def file_name(dataset: str, extractor: str, split: str = "test") -> str:
    """The name of the file of a data set and extractor."""
    plain, end = tables.plain(dataset), "" if split == "test" else f"-{split}"
    if plain != dataset:
        images = tables.lookup("datasets", dataset)(split).numpy()
        plain += f"-{hashlib.sha256(np.ascontiguousarray(images)).hexdigest()[:16]}"
    return f"{plain}-{extractor}{end}.safetensors"


def needs(metrics: Sequence[str], extractor: str) -> set[str]:
    """What metrics take of real images by an extractor: "features", "statistics", or nothing."""
    found = (tables.lookup("metrics", name) for name in metrics)
    return {m.needs for m in found if m.needs and names.kind(extractor) in m.kinds}


def find(dataset: str, extractor: str, split: str = "test") -> Path:
    """The reference file: the shipped one, else that in the cache, else statistics there.

    Raises:
        InputError: there is none.
    """
    name = file_name(dataset, extractor, split)
    cached = store.cache_root() / "reference" / name
    for path in (ZOO / name, cached, cached.with_suffix(".npz")):
        if path.exists():
            return path
    words = [dataset, extractor, *(() if split == "test" else ("--split", split))]
    raise InputError(
        f"no reference features of {dataset} ({split}) by {extractor}: make them with `bench "
        f"reference {shlex.join(words)}`, or take statistics with `--from FILE.npz`"
    )


def load(dataset: str, extractor: str, split: str = "test") -> Features:
    """The reference features, float64 (N, D): the shipped ones, else those in the cache.

    Raises:
        InputError: there are none, they are corrupt, or made by another version.
    """
    return read(find(dataset, extractor, split), tables.lookup("extractors", extractor).version)


def digest(dataset: str, extractor: str, split: str = "test") -> str:
    """SHA-256 of the reference features, as the file states it, or of the file of statistics: part
    of every record's key.

    Raises:
        InputError: there are none.
    """
    path = find(dataset, extractor, split)
    return store.sha256(path) if path.suffix == ".npz" else _digest(path)


def shape(dataset: str, extractor: str, split: str = "test") -> tuple[int, ...] | None:
    """(C, H, W) of the real images, None where neither the name nor the file tells."""
    if dataset in SHAPES:
        return SHAPES[dataset]
    try:
        path = find(dataset, extractor, split)
    except InputError:
        return None
    stated = "" if path.suffix == ".npz" else _metadata(path).get("shape", "")
    return tuple(map(int, stated.split("x"))) if stated else None


def count(dataset: str, extractor: str, split: str = "test") -> int:
    """The number of real images."""
    return int(_metadata(find(dataset, extractor, split)).get("count", 0))


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "numpy") as stream:
            return stream.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a whole reference file ({error}): make it anew") from None


@cache
def _digest(path: Path) -> str:
    return _metadata(path).get("sha256", "")


@cache
def read(path: Path, version: int) -> Features:
    """Read a reference file; the values are shared between calls and read-only.

    Raises:
        InputError: not a whole reference file, or made by another `version` of the extractor.
    """
    try:
        with safe_open(path, "numpy") as stream:
            metadata, stored = stream.metadata() or {}, stream.get_tensor("features")
        extractor, made_by = metadata["extractor"], int(metadata["version"])
        intact = metadata["sha256"] == hashlib.sha256(stored.tobytes()).hexdigest()
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a whole reference file ({error}): make it anew") from None
    if not intact:
        raise InputError(f"{path}: the features do not match their sha256: make the file anew")
    if made_by != version:
        raise InputError(
            f"{path}: made by version {made_by} of {extractor}, this bench has version {version}: "
            f"make it anew with `bench reference DATASET {extractor}`"
        )
    values = stored.astype(np.float64)
    values.flags.writeable = False
    return Features(extractor, version, values, np.arange(len(values)))


def build(dataset: str, extractor: str, folder: Path | None = None, split: str = "test") -> Path:
    """Make the reference file of all images of a split and return its path.

    Args:
        dataset, extractor: names in `tables.DATASETS` and `tables.EXTRACTORS`.
        folder: where the file goes; the cache by default.
        split: the split of the data set, as a rule one that nothing was trained on.
    """
    import torch

    images = tables.lookup("datasets", dataset)(split)
    extract = tables.lookup("extractors", extractor)()
    parts = [extract(batch).cpu().numpy() for batch in images.split(BATCH)]
    stored = np.concatenate(parts).astype(np.float16)
    metadata = {
        "dataset": dataset,
        "split": split,
        "count": str(len(stored)),
        "extractor": extractor,
        "version": str(extract.version),
        "sha256": hashlib.sha256(stored.tobytes()).hexdigest(),
        "shape": "x".join(map(str, images.shape[1:])),
        "images_sha256": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        "torch": torch.__version__,
    }
    path = (folder or store.cache_root() / "reference") / file_name(dataset, extractor, split)
    with store.atomic(path) as temporary:
        save_file({"features": stored}, temporary, metadata)
    return path


def main() -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m bench.features.reference")
    parser.add_argument("dataset")
    parser.add_argument("extractor")
    parser.add_argument("--out", type=Path, help="folder, by default the cache")
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    try:
        print(build(given.dataset, given.extractor, given.out, given.split))
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
