"""Reference features: those of real images, which generated ones are held against.

One safetensors file for each data set and extractor holds the features in float16, every value a
real image's, in the data set's order. It is shipped in bench/zoo or made into the cache:

    python -m bench.features.reference fashion-mnist efficientnet [--out bench/zoo] [--split test]

The file of a data set with an argument, whose content its name does not tell (`folder:PATH`), is
named by the hash of its images.

The rounding to float16 is at most 2^-11 of a value; docs/metrics.md has its effect on the scores.
"""

from __future__ import annotations

import argparse
import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bench import store, tables
from bench.errors import InputError
from bench.protocols import Features

ZOO = Path(__file__).resolve().parent.parent / "zoo"
BATCH = 100


def file_name(dataset: str, extractor: str, split: str = "test") -> str:
    """The name of the file of a data set and extractor."""
    plain = tables.plain(dataset)
    if plain != dataset:
        images = tables.lookup("datasets", dataset)(split).numpy()
        plain += f"-{hashlib.sha256(np.ascontiguousarray(images)).hexdigest()[:16]}"
    return f"{plain}-{extractor}.safetensors"


def find(dataset: str, extractor: str) -> Path:
    """The reference file: the shipped one, else that in the cache.

    Raises:
        InputError: there is none.
    """
    name = file_name(dataset, extractor)
    for path in (ZOO / name, store.cache_root() / "reference" / name):
        if path.exists():
            return path
    raise InputError(
        f"no reference features of {dataset} by {extractor}: "
        f"make them with `python -m bench.features.reference {dataset} {extractor}`"
    )


def load(dataset: str, extractor: str) -> Features:
    """The reference features, float64 (N, D): the shipped ones, else those in the cache.

    Raises:
        InputError: there are none, they are corrupt, or made by another version.
    """
    return read(find(dataset, extractor), tables.lookup("extractors", extractor).version)


def digest(dataset: str, extractor: str) -> str:
    """SHA-256 of the reference features, as the file states it: part of every record's key.

    Raises:
        InputError: there are none.
    """
    return _digest(find(dataset, extractor))


@cache
def _digest(path: Path) -> str:
    try:
        with safe_open(path, "numpy") as stream:
            return (stream.metadata() or {}).get("sha256", "")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a whole reference file ({error}): make it anew") from None


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
            f"make it anew with `python -m bench.features.reference DATASET {extractor}`"
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
