"""Statistics of features in the files of other tools: mean mu (D,) and covariance sigma (D, D).

    clean-fid, pytorch-fid    npz with mu, sigma
    ADM (OpenAI evaluator)    npz with mu, sigma of the features, mu_s, sigma_s of the spatial ones

Files written here hold besides what they were made of, which the other tools pass over: the
extractor, its version, the data set and the number of images. A foreign file says none of this, so
it is held against the extractor by its dimensions and by what its name says of the resizing.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench import store, tables
from bench.errors import InputError
from bench.protocols import Statistics

# What clean-fid writes into the names of its files, and the extractor that it means.
MODES = {
    "legacy_pytorch": "inception-legacy-pytorch",
    "legacy_tensorflow": "inception-legacy-tensorflow",
    "_clean_": "inception",
}
SPATIAL = "inception-spatial"


def read(path: Path, extractor: str) -> Statistics:
    """Statistics of an extractor's features.

    Args:
        path: an npz of any of the three tools.
        extractor: what the numbers are taken for.

    Raises:
        InputError: no whole npz, no statistics, or statistics of another extractor.
    """
    suffix = "_s" if extractor == SPATIAL else ""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if f"mu{suffix}" not in stored or f"sigma{suffix}" not in stored:
                held = ", ".join(stored.files)
                raise InputError(f"{path} holds no mu{suffix} and sigma{suffix} but {held}")
            mu = np.asarray(stored[f"mu{suffix}"], np.float64)
            sigma = np.asarray(stored[f"sigma{suffix}"], np.float64)
            known = [name for name in ("extractor", "version", "count") if name in stored]
            marks = {name: str(stored[name]) for name in known}
    # numpy raises nearly every exception on damaged archives.
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no whole npz of statistics ({reason})") from None
    _check(path, extractor, mu, sigma)
    _check_marks(path, extractor, marks)
    return Statistics(mu, sigma, int(marks.get("count", 0)))


def _check(path: Path, extractor: str, mu: np.ndarray, sigma: np.ndarray) -> None:
    dim = tables.lookup("extractors", extractor).dim
    if mu.shape != (dim,) or sigma.shape != (dim, dim):
        raise InputError(
            f"{path} has mu {mu.shape} and sigma {sigma.shape}: statistics of another extractor "
            f"than {extractor}, whose features have {dim} dimensions"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise InputError(f"{path} holds NaN or infinite values")


def _check_marks(path: Path, extractor: str, marks: Mapping[str, str]) -> None:
    made_by = marks.get("extractor", extractor)
    named = next((meant for mark, meant in MODES.items() if mark in path.name), extractor)
    version = str(tables.lookup("extractors", extractor).version)
    if extractor not in made_by.split("+") or (not marks and named != extractor):
        other = made_by if marks else named
        raise InputError(f"{path} holds statistics of {other}, not of {extractor}")
    if marks.get("version", version) != version:
        raise InputError(
            f"{path} is of version {marks['version']} of {extractor}, this bench has {version}"
        )


def count(path: Path) -> int:
    """Of how many images statistics are, without reading them; 0 where that is not said."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return int(str(file["count"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return 0


def write(path: Path, found: Mapping[str, Statistics], dataset: str) -> None:
    """Write statistics so that clean-fid and pytorch-fid read them, and ADM's evaluator too where
    there are spatial ones.

    Args:
        path: the file.
        found: statistics by extractor: of one, and of `inception-spatial` besides for ADM.
        dataset: what they are of.
    """
    arrays: dict[str, Any] = {"extractor": "+".join(found), "dataset": dataset}
    for extractor, statistics in found.items():
        suffix = "_s" if extractor == SPATIAL else ""
        arrays[f"mu{suffix}"], arrays[f"sigma{suffix}"] = statistics.mu, statistics.sigma
        arrays["version"] = str(tables.lookup("extractors", extractor).version)
        arrays["count"] = str(statistics.count)
    with store.atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)
