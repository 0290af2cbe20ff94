"""A cell with all of its keys and places, made once: what generation, scoring and engines take.

    cell, host, cache folder -> ResolvedCell

To resolve a cell hashes the code behind it, asks extensions what they are, looks for the real
images' features and asks the backend whether it can run here. All of that is done here and
nowhere again. What comes out is plain and frozen, so that it can go to another process.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.cell import Cell
from bench.core.record import Host
from bench.core.refusals import refusal
from bench.evaluation import keys
from bench.measurement import real
from bench.measurement.features import pretrained, reference
from bench.system import artifacts


@dataclass(frozen=True)
class ResolvedImages:
    """Where the images of a cell are kept.

    Attributes:
        cell: that they are of.
        key: of the images, which does not depend on how many there are.
        folder: of the images, and of what is known of the network that made them.
        calibration: folder of what the calibration leads to, the same for all backends.
        plain: likewise for the scheme without its methods; all that start from it share it.
    """

    cell: Cell
    key: str
    folder: Path
    calibration: Path
    plain: Path

    @property
    def paths(self) -> list[Path]:
        """The files of the images in order, a batch each."""
        return [self.path(k) for k in range(self.batches)]

    @property
    def batches(self) -> int:
        """Number of the files."""
        return -(-self.cell.draw.images // self.cell.draw.batch)

    def path(self, batch: int) -> Path:
        """The file of a batch."""
        return self.folder / f"{batch:05d}.npy"

    def missing(self) -> int:
        """Batches that are not in the cache."""
        return sum(not artifacts.exists(path) for path in self.paths)

    def first(self, count: int) -> ResolvedImages:
        """The first images alone."""
        draw = replace(self.cell.draw, images=min(count, self.cell.draw.images))
        return replace(self, cell=replace(self.cell, draw=draw))


@dataclass(frozen=True)
class ResolvedCell:
    """A cell and all that was found out about it before anything is computed.

    Attributes:
        cell: that is to be measured.
        host: the machine whose keys these are, with what identifies the extensions that make the
            numbers.
        cache: the cache folder.
        record: the file of the finished record.
        images: its images.
        reference: those of full precision that they are held against; a reference's own.
        simulation: those of the simulation, where a metric compares with them.
        real: SHA-256 of the real images' features that metrics take, by extractor.
        real_images: how many real images those are, by extractor; 0 where that is not known.
        refusal: why the backend cannot run the cell on this machine, or None.
        spent: wall time by stage that its images took where they were made before.
    """

    cell: Cell
    host: Host
    cache: Path
    record: Path
    images: ResolvedImages
    reference: ResolvedImages
    simulation: ResolvedImages | None = None
    real: Mapping[str, str] = field(default_factory=dict)
    real_images: Mapping[str, int] = field(default_factory=dict)
    refusal: str | None = None
    spent: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.cell)


class Resolver:
    """Resolves the cells of one command, each of them once.

    Args:
        host: fingerprint of the machine that will run the cells.
        cache: the cache folder.
    """

    def __init__(self, host: Host, cache: Path) -> None:
        self.host, self.cache = host, cache
        # For `folder:` data sets these hash every image, and many cells ask for them.
        self._digest = functools.cache(reference.digest)
        self._count = functools.cache(real.count)
        self._cells: dict[Cell, ResolvedCell] = {}

    def resolve(self, cell: Cell) -> ResolvedCell:
        """The cell with its keys and places.

        Raises:
            InputError: no reference features for a metric, or an extension that cannot say what
                it is.
        """
        if cell not in self._cells:
            self._cells[cell] = self._made(cell)
        return self._cells[cell]

    def _made(self, cell: Cell) -> ResolvedCell:
        digests = real.by_extractor(cell, self._digest)
        key = keys.of_record(cell, self.host, digests)
        simulation = keys.needs_simulation(cell)
        return ResolvedCell(
            cell,
            described(self.host, cell, keys.record_entries(cell)),
            self.cache,
            self.cache / "records" / f"{key}.json",
            images=self.images(cell),
            reference=self.images(cell.reference),
            simulation=self.images(cell.simulation) if simulation else None,
            real=digests,
            real_images=real.by_extractor(cell, self._count),
            # A backend of another package may give "" where it has no reason.
            refusal=refusal(cell.backend, cell.scheme, self.host) or None,
        )

    def images(self, cell: Cell) -> ResolvedImages:
        """Where the images of a cell are."""
        return images_of(cell, self.host, self.cache)


def described(host: Host, cell: Cell, entries: Iterable[keys.Entry]) -> Host:
    """The machine, with what identifies the extensions that make the numbers of a cell."""
    origins = pretrained.recorded((*cell.extractors, *cell.metrics))
    versions = {**keys.identities(entries), **origins}
    return replace(host, versions={**host.versions, **versions})


def images_of(cell: Cell, host: Host, cache: Path) -> ResolvedImages:
    """Where a machine keeps the images of a cell."""
    key = keys.of_images(cell, host)
    plain = replace(cell, scheme=replace(cell.scheme, methods=()))
    calibrations = [cache / "quantized" / keys.of_calibration(one, host) for one in (cell, plain)]
    return ResolvedImages(cell, key, cache / "images" / key, *calibrations)
