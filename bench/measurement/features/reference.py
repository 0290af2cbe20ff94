"""Reference features: the features of real images that generated ones are compared with.

One safetensors file for each data set, split and extractor holds the features in float16, every
one row for each real image, in the data set's order. It is shipped in bench/zoo, or made in the
cache by `bench reference`, or in any folder by

    python -m bench.measurement.features.make_reference DATASET EXTRACTOR [--out FOLDER]

Where there is no such file, an npz of the same name with statistics that someone else made may
take its place (`bench.measurement.features.statistics_files`), for metrics that need no more.

The name of a data set may not fix its content (`folder:PATH`, or a data set of another package):
its file is named by the hash of its images.

A file in the cache is an artifact (`bench.system.artifacts`); the shipped files are checked
against bench/zoo/SHA256SUMS. Rounding to float16 is at most 2^-11 of a value (docs/metrics.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save

from bench.core import distances, extensions, tables
from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.core.protocols import Features
from bench.measurement.features import identities
from bench.system import artifacts, disk

ZOO = Path(__file__).resolve().parents[2] / "zoo"
SUMS = "SHA256SUMS"
BATCH = 100
# Image shape of each built-in data set.
SHAPES = {
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "lsun-tower": (3, 64, 64),
    "ffhq": (3, 64, 64),
}


def file_name(dataset: str, extractor: str, split: str = "test") -> str:
    """The name of the file of a data set and extractor."""
    plain, end = extensions.plain(dataset), "" if split == "test" else f"-{split}"
    if plain != dataset or plain not in tables.DATASETS:
        images = extensions.lookup("datasets", dataset)(split).numpy()
        plain += f"-{hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()[:16]}"
    return f"{plain}-{extractor}{end}.safetensors"


def needs(metrics: Sequence[str], extractor: str) -> set[str]:
    """The needs of metrics of real images: "features", "statistics", both, or nothing."""
    classes = (extensions.lookup("metrics", name) for name in metrics)
    return {m.needs for m in classes if m.needs and distances.kind(extractor) in m.kinds}


def made_by(extractor: str) -> str:
    """Identity of an extractor's weights or package; "" where its version says it all."""
    said = extensions.identity("extractors", extractor)
    if extractor in tables.EXTRACTORS:
        return said.get("weights", "")
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def folder() -> Path:
    """The folder of the reference files in the cache."""
    return disk.cache_root() / "reference"


def find(dataset: str, extractor: str, split: str = "test") -> Path:
    """The reference file: the shipped one, or that of the cache, or statistics in the cache.

    A damaged file of the cache is made again. The shipped file was made with the weights that
    bench was released with, and is passed over where other weights are installed.

    Raises:
        InputError: there is none, it is of other weights, or the shipped one is damaged.
    """
    name = file_name(dataset, extractor, split)
    shipped, cached = ZOO / name, folder() / name
    if shipped.exists() and _metadata(shipped, _stamp(shipped))["made_by"] == made_by(extractor):
        return shipped
    if os.path.lexists(cached) and not _is_whole(cached, _stamp(cached)):
        build(dataset, extractor, split=split)
    if cached.exists():
        if _metadata(cached, _stamp(cached))["made_by"] != made_by(extractor):
            raise InputError(
                f"{cached}: made by other weights of {extractor} than are here: make it anew with "
                f"`bench reference {shlex.quote(dataset)} {extractor}`"
            )
        return cached
    statistics = cached.with_suffix(".npz")
    if statistics.exists() and _is_whole(statistics, _stamp(statistics)):
        return statistics
    words = [dataset, extractor, *(() if split == "test" else ("--split", split))]
    raise InputError(
        f"no reference features of {dataset} ({split}) by {extractor}: make them with `bench "
        f"reference {shlex.join(words)}`, or take statistics with `--from FILE.npz`"
    )


def _stamp(path: Path) -> tuple[int, ...]:
    """Inode, size and time of a file, which change when its content does; () without a file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


@cache
def _is_whole(path: Path, stamp: tuple[int, ...]) -> bool:
    """Whether a file of the cache matches its digest; one that does not is set aside."""
    return artifacts.intact(path, path.name)


def load(dataset: str, extractor: str, split: str = "test") -> Features:
    """The reference features, float64 (N, D): the shipped ones, or those in the cache.

    Raises:
        InputError: there are none, they are corrupt, or made by another version.
    """
    return read(
        find(dataset, extractor, split), extensions.lookup("extractors", extractor).version
    )


def digest(dataset: str, extractor: str, split: str = "test") -> str:
    """SHA-256 of the reference features, as the file states it, or of the file of statistics: part
    of every record's key.

    Raises:
        InputError: there are none.
    """
    path = find(dataset, extractor, split)
    stamp = _stamp(path)
    return _sha256(path, stamp) if path.suffix == ".npz" else _metadata(path, stamp)["sha256"]


@cache
def _sha256(path: Path, stamp: tuple[int, ...]) -> str:
    return disk.sha256(path)


def shape(dataset: str, extractor: str, split: str = "test") -> tuple[int, ...] | None:
    """(C, H, W) of the real images, None where neither the name nor the file tells."""
    if dataset in SHAPES:
        return SHAPES[dataset]
    try:
        path = find(dataset, extractor, split)
    except InputError:
        return None
    stated = "" if path.suffix == ".npz" else _metadata(path, _stamp(path)).get("shape", "")
    sizes = tuple(_whole(path, "shape", size) for size in stated.split("x")) if stated else None
    if sizes and (len(sizes) != 3 or min(sizes) < 1):
        raise InputError(f"{path}: states the shape {quoted(stated)} of images: make it anew")
    return sizes


def count(dataset: str, extractor: str, split: str = "test") -> int:
    """The number of real images."""
    path = find(dataset, extractor, split)
    return _whole(path, "count", _metadata(path, _stamp(path)).get("count", "0"))


def _whole(path: Path, field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InputError(f"{path}: states {field} {quoted(text)}, no number: make it anew")
    return int(text)


def _check_regular(path: Path) -> None:
    """Refuse what is no regular file: reading a pipe would wait for ever."""
    if not path.is_file():
        raise InputError(f"{path}: not a file of reference features: remove it")


@cache
def _metadata(path: Path, stamp: tuple[int, ...]) -> dict[str, str]:
    """The metadata of a file; a shipped file is first checked against the list of hashes."""
    _check_regular(path)
    try:
        if path.parent == ZOO:
            _check_shipped(path)
        with path.open("rb") as stream:
            return _header(stream.read(8), stream.read(1 << 20))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = short(str(error), 120)
        raise InputError(f"{path}: not a whole reference file ({reason}): make it anew") from None


def _header(length: bytes, content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file, from its first bytes."""
    stated = json.loads(content[: int.from_bytes(length, "little")])["__metadata__"]
    known = identities.PUBLISHED if stated["extractor"] == "efficientnet" else ""
    return {"made_by": known, **stated}


def _check_shipped(path: Path) -> None:
    sums = path.parent / SUMS
    if not sums.is_file():
        return
    lines = (line.split() for line in sums.read_text(encoding="utf-8").splitlines())
    known = {name: digest for digest, name in lines}
    if path.name in known and known[path.name] != disk.sha256(path):
        raise InputError(
            f"{path}: damaged, its SHA-256 is not that of the release: install bench again"
        )


def _content(path: Path) -> bytes:
    if path.parent != folder():
        return path.read_bytes()
    content = artifacts.read(path, path.name)
    if content is None:
        raise artifacts.Lost(path)
    return content


@cache
def read(path: Path, version: int) -> Features:
    """Read a reference file; the values are shared between calls and read-only.

    Raises:
        InputError: not a whole reference file, or made by another `version` of the extractor.
    """
    return unkept(path, version)


def unkept(path: Path, version: int) -> Features:
    """The same as `read`, but read anew and not kept in memory."""
    _check_regular(path)
    try:
        content = _content(path)
        metadata, stored = _header(content[:8], content[8:]), tensors_of(content)["features"]
        extractor, made_by = metadata["extractor"], _whole(path, "version", metadata["version"])
        intact = metadata["sha256"] == hashlib.sha256(stored.tobytes()).hexdigest()
        if stored.ndim != 2 or stored.dtype.kind != "f" or not np.isfinite(stored).all():
            raise ValueError(f"features of type {stored.dtype} and shape {stored.shape}")
    # numpy has no bfloat16 or float8: a TypeError or AttributeError.
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = short(str(error), 120)
        raise InputError(f"{path}: not a whole reference file ({reason}): make it anew") from None
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


def build(dataset: str, extractor: str, out: Path | None = None, split: str = "test") -> Path:
    """Make the reference file of all images of a split and return its path.

    Args:
        dataset, extractor: names in `tables.DATASETS` and `tables.EXTRACTORS`.
        out: folder of the file; the cache by default.
        split: the split of the data set, as a rule one that nothing was trained on.
    """
    import torch

    images = extensions.lookup("datasets", dataset)(split)
    extract = extensions.lookup("extractors", extractor)()
    parts = [extract(batch).cpu().numpy() for batch in images.split(BATCH)]
    stored = np.concatenate(parts).astype(np.float16)
    metadata = {
        "dataset": dataset,
        "split": split,
        "count": str(len(stored)),
        "extractor": extractor,
        "version": str(extract.version),
        "made_by": made_by(extractor),
        "sha256": hashlib.sha256(stored.tobytes()).hexdigest(),
        "shape": "x".join(map(str, images.shape[1:])),
        "images_sha256": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        "torch": torch.__version__,
    }
    content = save({"features": stored}, metadata)
    path = (out or folder()) / file_name(dataset, extractor, split)
    if out is None:
        artifacts.write(path, path.name, content)
    else:
        with disk.atomic(path) as temporary:
            temporary.write_bytes(content)
    return path
