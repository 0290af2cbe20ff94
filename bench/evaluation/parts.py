"""The parts of cells: one batch of images each, with its features; what workers share out.

    resolved cells -> the image sets that they need -> a part for each batch that is missing

The noise of image i depends on i alone and a batch is sampled whole, so a part has the same bits
whoever makes it, and whichever parts were made before. What is made is kept in the cache under
the keys of one worker alone; a cell whose parts are there is measured without sampling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.cell import Cell
from bench.core.record import Host
from bench.evaluation import keys, records, taken
from bench.evaluation.cost import sampling_cost
from bench.evaluation.extraction import Place
from bench.evaluation.resolved import ResolvedCell, ResolvedImages
from bench.system import artifacts


@dataclass(frozen=True)
class Part:
    """One batch of the images of a cell.

    Attributes:
        images: the images of which it is a part.
        batch: which batch.
        host: the machine whose keys these are.
        places: where its features are kept, by each extractor that is needed.
    """

    images: ResolvedImages
    batch: int
    host: Host
    places: tuple[Place, ...] = ()

    @property
    def cell(self) -> Cell:
        """The cell whose images these are."""
        return self.images.cell

    @property
    def count(self) -> int:
        """Images of the batch that the cell takes: of the last one perhaps not all."""
        draw = self.cell.draw
        return min(draw.batch, draw.images - self.batch * draw.batch)

    def __str__(self) -> str:
        return f"{self.cell}, batch {self.batch}"

    @property
    def path(self) -> Path:
        """The file of its images."""
        return self.images.path(self.batch)

    def features(self, place: Place) -> Path:
        """The file of its features, which rest on the bits of the images; Lost without those."""
        return place.path(self.batch, self.count, artifacts.stated(self.path))

    def read(self) -> list[np.ndarray]:
        """Its images, all of one size: those that the cell takes."""
        return [artifacts.loader(self.images.key)(self.path)[: self.count]]

    def is_missing(self) -> bool:
        """Whether its images or their features are not in the cache."""
        try:
            paths = [self.path, *map(self.features, self.places)]
        except artifacts.Lost:
            return True
        return not all(artifacts.exists(path) for path in paths)


@dataclass(frozen=True)
class ImageWork:
    """A set of images that cells need.

    Attributes:
        images: of as many as the largest of the cells takes.
        host: the machine whose keys these are.
        places: where features are kept, by each extractor that a metric takes.
    """

    images: ResolvedImages
    host: Host
    places: tuple[Place, ...]

    def parts(self) -> Iterator[Part]:
        """A part for each batch, whether it is there or not."""
        for k in range(self.images.batches):
            yield Part(self.images, k, self.host, self.places)


def needed(wanted: ResolvedCell) -> list[ResolvedImages]:
    """The sets of images that a cell is measured from, those of full precision first."""
    sets = [wanted.reference, wanted.images, wanted.simulation]
    return list({each.folder: each for each in sets if each is not None}.values())


def works(cells: Sequence[ResolvedCell]) -> list[ImageWork]:
    """The sets of images of all cells that are not refused, each once."""
    known: dict[Path, ImageWork] = {}
    for wanted in cells:
        if wanted.refusal is not None:
            continue
        is_compared = not wanted.cell.is_reference
        names = taken.extractors_of(wanted.cell.extractors, wanted.cell.metrics, is_compared)
        for images in needed(wanted):
            # The images of a simulation are compared as they are; where it is a cell of its own,
            # that cell asks for their features.
            is_measured = images.folder in (wanted.images.folder, wanted.reference.folder)
            places = tuple(_place(wanted, images, name) for name in names if is_measured)
            if before := known.get(images.folder):
                places = tuple(dict.fromkeys((*before.places, *places)))
                images = max(before.images, images, key=lambda each: each.cell.draw.images)
            known[images.folder] = ImageWork(images, wanted.host, places)
    return list(known.values())


def unfinished(cells: Sequence[ResolvedCell]) -> list[ResolvedCell]:
    """The cells of which there is no record yet."""
    return [wanted for wanted in cells if records.cached(wanted) is None]


def _place(wanted: ResolvedCell, images: ResolvedImages, extractor: str) -> Place:
    key = keys.of_features(images.key, extractor, wanted.host)
    return Place.of(wanted.cache, key, extractor)


def shard(cells: Sequence[ResolvedCell], number: int, count: int) -> list[Part]:
    """What one of several commands has still to make of its share: parts that follow each other,
    so that a command quantizes few networks, and cost about a `count`-th of all.

    The shares depend on the cells alone and on nothing that is in the cache, so those of all
    commands together are the whole, whenever each of them begins.

    Args:
        cells: of the run, in an order that is the same for all commands.
        number: of the command, from 1.
        count: of commands.
    """
    parts = [part for work in works(cells) for part in work.parts()]
    costs = [sampling_cost(part.cell) for part in parts]
    total, before, chosen = sum(costs), 0.0, []
    for part, cost in zip(parts, costs, strict=True):
        # By the middle of a part, so that each belongs to one command.
        if (number - 1) * total <= (before + cost / 2) * count < number * total:
            chosen.append(part)
        before += cost
    is_open = {work.images.folder for work in works(unfinished(cells))}
    return [part for part in chosen if part.images.folder in is_open and part.is_missing()]
