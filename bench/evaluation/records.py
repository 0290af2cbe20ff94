"""Finished records in the cache, each with the influences of its images beside it.

A record is kept under a key of all that its numbers rest on, so one that is there is up to date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import InputError
from bench.core.record import Record, record_from_json, to_json
from bench.system import artifacts, influences

if TYPE_CHECKING:
    from bench.evaluation.resolved import ResolvedCell


def cached(wanted: ResolvedCell) -> Record | None:
    """The finished record of a cell, or None."""
    text = artifacts.load_text(wanted.record, wanted.record.name)
    # Influences are written first, so they are missing only where they were deleted or damaged.
    if text is None or _terms(wanted.record) is None:
        return None
    # The name of a checkpoint is not part of its content: the caller's stands.
    return replace(record_from_json(text), cell=wanted.cell)


def missing_batches(wanted: ResolvedCell) -> int:
    """Batches of images that must still be sampled for a cell."""
    is_settled = wanted.refusal is not None or cached(wanted) is not None
    return 0 if is_settled else wanted.images.missing()


def keep(wanted: ResolvedCell, record: Record, terms: Mapping[str, np.ndarray]) -> None:
    """Write a record and the influences (N,) of its measurements by name.

    Raises:
        ValueError: a metric of another package gave what no reader of a run takes.
    """
    path = wanted.record
    content, text = influences.pack(terms), to_json(record)
    record_from_json(text)
    artifacts.write(path.with_suffix(".npz"), f"{path.stem}.npz", content)
    artifacts.save_text(path, path.name, text)


def influences_of(wanted: ResolvedCell) -> dict[str, np.ndarray]:
    """The influences (N,) of a finished cell's images, named as in a run's file.

    Raises:
        InputError: they were damaged since the cell was finished.
    """
    terms = _terms(wanted.record)
    if terms is None:
        raise InputError(f"the cache lost what {wanted} was made of: repeat the command")
    return {influences.key(wanted.cell, name): values for name, values in terms.items()}


def _terms(path: Path) -> dict[str, np.ndarray] | None:
    """The influences beside a record, None where they are missing."""
    content = artifacts.read(path.with_suffix(".npz"), f"{path.stem}.npz")
    return None if content is None else influences.unpack(content)
