"""Statistics of features in the files of other tools: mean mu (D,) and covariance sigma (D, D).

    clean-fid, pytorch-fid    npz with mu, sigma
    ADM (OpenAI evaluator)    npz with mu, sigma of the features, mu_s, sigma_s of the spatial ones

Files that are written here also state their origin, which the other tools ignore: the extractor,
its version, the data set and the number of images. A foreign file states none of this, so it is
checked against the extractor by its dimensions and by the resizing in its name.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import extensions, npz
from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.core.protocols import Statistics
from bench.system import artifacts, disk

# Words in the names of clean-fid's files, and the extractors that they mean.
MODES = {
    "legacy_pytorch": "inception-legacy-pytorch",
    "legacy_tensorflow": "inception-legacy-tensorflow",
    "_clean_": "inception",
}
SPATIAL = "inception-spatial"
MARKS = ("extractor", "version", "count")
_COUNT = re.compile("[0-9]{1,12}")
# Rounding of float32 sums over some thousand dimensions, relative to the largest value.
ROUNDING = 1e-5


def read(path: Path, extractor: str) -> Statistics:
    """Statistics of an extractor's features.

    Args:
        path: an npz of any of the three tools.
        extractor: name of the extractor that the numbers are taken for.

    Raises:
        InputError: no whole npz, no statistics, or statistics of another extractor.
    """
    suffix = "_s" if extractor == SPATIAL else ""
    mean, covariance = f"mu{suffix}", f"sigma{suffix}"
    try:
        source = _source(path)
        stored = npz.read(source, (mean, covariance, *MARKS))
        if not {mean, covariance} <= set(stored):
            held = short(", ".join(npz.names(source)))
            raise InputError(f"{path} holds no {mean} and {covariance} but {held}")
    except (OSError, ValueError) as error:
        reason = short(str(error), 120)
        raise InputError(f"{path} is no whole npz of statistics ({reason})") from None
    marks = {name: _mark(path, name, stored[name]) for name in MARKS if name in stored}
    count = marks.get("count", "0")
    if not _COUNT.fullmatch(count):
        raise InputError(f"{path}: count must be a number of images, not {quoted(count)}")
    _check(path, extractor, stored[mean], stored[covariance])
    _check_marks(path, extractor, marks)
    mu, sigma = (stored[name].astype(np.float64) for name in (mean, covariance))
    return Statistics(mu, sigma, int(count))


def _mark(path: Path, name: str, stored: np.ndarray) -> str:
    """The value that a file states under a name: one text or number."""
    if stored.shape != () or stored.dtype.kind not in "iuU":
        raise InputError(f"{path}: {name} must be one text or whole number, not {stored.dtype}")
    return str(stored)


def _source(path: Path) -> Path | io.BytesIO:
    """The file; for one in the cache its content, which is checked against its digest."""
    if path.parent != disk.cache_root() / "reference":
        return path
    content = artifacts.read(path, path.name)
    if content is None:
        raise artifacts.Lost(path)
    return io.BytesIO(content)


def _check(path: Path, extractor: str, mu: np.ndarray, sigma: np.ndarray) -> None:
    dim = extensions.lookup("extractors", extractor).dim
    if mu.shape != (dim,) or sigma.shape != (dim, dim):
        raise InputError(
            f"{path} has mu {mu.shape} and sigma {sigma.shape}: statistics of another extractor "
            f"than {extractor}, whose features have {dim} dimensions"
        )
    if mu.dtype.kind != "f" or sigma.dtype.kind != "f":
        raise InputError(
            f"{path} has mu of type {mu.dtype} and sigma of type {sigma.dtype}: statistics are "
            f"real numbers, float32 or float64"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise InputError(f"{path} holds NaN or infinite values")
    _check_covariance(path, sigma.astype(np.float64))


def _check_covariance(path: Path, sigma: np.ndarray) -> None:
    """Refuse a matrix that is no covariance beyond rounding: a distance to it means nothing."""
    limit = ROUNDING * float(np.abs(sigma).max())
    apart = float(np.abs(sigma - sigma.T).max())
    if apart > limit:
        raise InputError(f"{path}: sigma is no covariance: not symmetric, by up to {apart:.3g}")
    try:
        # Much faster than the eigenvalues, which decide only where this fails.
        np.linalg.cholesky(sigma + (limit or 1.0) * np.eye(len(sigma)))
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(sigma)
        if values[0] < -ROUNDING * max(values[-1], 0.0):
            raise InputError(
                f"{path}: sigma is no covariance: it has a variance of {values[0]:.3g} in some "
                f"direction"
            ) from None


def _check_marks(path: Path, extractor: str, marks: Mapping[str, str]) -> None:
    made_by = marks.get("extractor", extractor)
    named = next((meant for mark, meant in MODES.items() if mark in path.name), extractor)
    version = str(extensions.lookup("extractors", extractor).version)
    if extractor not in made_by.split("+") or (not marks and named != extractor):
        other = made_by if marks else named
        raise InputError(f"{path} holds statistics of {short(other)}, not of {extractor}")
    if marks.get("version", version) != version:
        raise InputError(
            f"{path} is of version {short(marks['version'])} of {extractor}, this bench has "
            f"{version}"
        )


def count(path: Path) -> int:
    """Number of images behind statistics, which are not read; 0 where the file does not say."""
    try:
        return int(str(npz.read(path, ("count",))["count"]))
    except (OSError, ValueError, KeyError):
        return 0


def write(path: Path, by_extractor: Mapping[str, Statistics], dataset: str) -> None:
    """Write statistics so that clean-fid and pytorch-fid read them, and ADM's evaluator too where
    there are spatial ones.

    Args:
        path: the file.
        by_extractor: statistics by extractor: of one, and for ADM also of `inception-spatial`.
        dataset: name of the data set that they were computed from.
    """
    arrays: dict[str, Any] = {"extractor": "+".join(by_extractor), "dataset": dataset}
    for extractor, statistics in by_extractor.items():
        suffix = "_s" if extractor == SPATIAL else ""
        arrays[f"mu{suffix}"], arrays[f"sigma{suffix}"] = statistics.mu, statistics.sigma
        arrays["version"] = str(extensions.lookup("extractors", extractor).version)
        arrays["count"] = str(statistics.count)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    if path.parent == disk.cache_root() / "reference":
        artifacts.write(path, path.name, stream.getvalue())
    else:
        with disk.atomic(path) as temporary:
            temporary.write_bytes(stream.getvalue())
