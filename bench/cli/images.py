"""`bench report --format images`: the images of a run as PNG files, one folder for each cell.

They are those that the cache still holds; nothing is sampled anew. Names are the indices of the
images, so that the folders of two cells pair up, as `bench score` needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.core.errors import InputError
from bench.core.record import Record, Run
from bench.core.shards import Shards
from bench.system import artifacts, store
from bench.system.host import fingerprint
from bench.system.runs import sample_name, save_strip

FORMAT = "images"


def export(run: Run, folder: Path) -> list[Path]:
    """Write the images of all measured cells below a run's folder; the folders of the cells.

    Raises:
        InputError: the images were made elsewhere, or the cache does not hold them any more.
    """
    measured = [record for record in run.records if record.status == "ok"]
    if any(record.elsewhere for record in measured):
        raise InputError(f"the images of run {run.id} were made elsewhere, and are there still")
    kept = [(record, _kept(record)) for record in measured]
    targets = []
    for record, images in kept:
        target = folder / FORMAT / sample_name(record.cell).removesuffix(".png")
        for index, pixels in enumerate(_each(record, images)):
            save_strip(target / f"{index:06d}.png", pixels)
        targets.append(target)
    return targets


def _kept(record: Record) -> Shards:
    """The images of a cell in the cache."""
    from bench.evaluation.resolved import images_of

    wanted = images_of(record.cell, fingerprint(record.host.device), store.cache_root())
    if wanted.missing():
        raise InputError(_lost(record))
    return Shards(wanted.paths, record.cell.draw.images, artifacts.loader(wanted.key))


def _each(record: Record, images: Shards) -> Iterator[np.ndarray]:
    """The images of a cell one by one, uint8 (H, W, C)."""
    batch = record.cell.draw.batch
    try:
        for start in range(0, len(images), batch):
            yield from images[start : start + batch].transpose(0, 2, 3, 1)
    except artifacts.Lost:
        raise InputError(_lost(record)) from None


def _lost(record: Record) -> str:
    return (
        f"the cache does not hold the images of {record.cell} any more, or holds those of another "
        f"version of bench: repeat the run, then export it"
    )
