"""Who does what next: parts of cells and whole cells over workers, as a table without processes.

A cell is first sampled, batch by batch, by as many workers as there are, and measured by one of
them when all of its images are there. A worker goes on where it is, as its network is loaded;
else it begins images at which nobody is, of a checkpoint at which nobody is if there is one, and
those first that are still to be calibrated; else it helps where most batches are left, if they
take longer than to load and quantize the network once more. A calibration is made by the first who
comes: nobody else is sent to its cells before that one samples.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.progress import SAMPLING, Done, Progress
from bench.core.record import Record
from bench.evaluation import parts
from bench.evaluation.parts import Part
from bench.evaluation.resolved import ResolvedCell

Item = ResolvedCell | Part
# Stages of a worker that comes to images.
SETUP = ("load", "quantize")
# How often a piece of work is tried where the worker that is at it is killed.
TRIES = 3


@dataclass
class _Images:
    """The parts of one set of images.

    Attributes:
        calibration: what must be there before several workers are at it; None in full precision.
        waiting: parts that nobody is at.
        at: workers that are at a part.
        made: how many parts are made.
        seconds: that these took, without loading and quantizing.
    """

    calibration: Path | None
    checkpoint: str
    waiting: deque[Part]
    at: set[int] = field(default_factory=set)
    made: int = 0
    seconds: float = 0.0

    @property
    def left(self) -> float:
        """Seconds that one worker has to do, 0 as long as no part tells how many."""
        return len(self.waiting) * self.seconds / max(1, self.made)

    @property
    def is_done(self) -> bool:
        """Whether no part is left."""
        return not self.waiting and not self.at


class Schedule:
    """What is left to do, and who is at what.

    Args:
        items: cells, whose missing parts are found here, and parts.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.cells = deque(item for item in items if isinstance(item, ResolvedCell))
        single = [item for item in items if isinstance(item, Part)]
        works = parts.works(parts.unfinished(list(self.cells)))
        missing = (part for work in works for part in work.parts() if part.is_missing())
        self.images: dict[Path, _Images] = {}
        for part in (*missing, *single):
            self._add(part)
        # Images whose time no cell of its own will state; those of the cells themselves.
        self.owned = {wanted.images.folder for wanted in self.cells}
        self.spent: dict[Path, Counter[str]] = {}
        self.calibrated: set[Path] = set()
        self.calibrating: dict[Path, int] = {}
        self.busy: dict[int, Item] = {}
        self.place: dict[int, _Images] = {}
        self.tries: Counter[str] = Counter()
        # Seconds that the quickest worker took to load and quantize a network.
        self.setup = math.inf

    def _add(self, part: Part) -> None:
        images = part.images
        if images.folder not in self.images:
            place = None if part.cell.scheme.is_float else images.calibration
            checkpoint = part.cell.checkpoint.sha256
            self.images[images.folder] = _Images(place, checkpoint, deque())
        self.images[images.folder].waiting.append(part)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return not (self.cells or self.busy or any(w.waiting for w in self.images.values()))

    @property
    def waiting(self) -> int:
        """Pieces of work that nobody is at."""
        return len(self.cells) + sum(len(images.waiting) for images in self.images.values())

    def take(self, who: int) -> Item | None:
        """What a worker does next; None where it has to wait for others, or all is done."""
        item: Item | None = self._measurable()
        if item is None and (images := self._chosen(who)):
            item = images.waiting.popleft()
            images.at.add(who)
            self.place[who] = images
            if images.calibration and images.calibration not in self.calibrated:
                self.calibrating[images.calibration] = who
        if item is not None:
            self.busy[who] = item
        return item

    def _measurable(self) -> ResolvedCell | None:
        """A cell whose images are all there, with the time that they took."""
        for wanted in self.cells:
            folders = [images.folder for images in parts.needed(wanted)]
            if any(f in self.images and not self.images[f].is_done for f in folders):
                continue
            self.cells.remove(wanted)
            own = [f for f in folders if f == wanted.images.folder or f not in self.owned]
            total: Counter[str] = Counter()
            for folder in own:
                total.update(self.spent.pop(folder, {}))
            return replace(wanted, spent=dict(total))
        return None

    def _chosen(self, who: int) -> _Images | None:
        """The images that a worker is best at."""
        here = self.place.get(who)
        near = here.checkpoint if here else ""
        taken = {images.checkpoint for images in self.images.values() if images.at}
        possible = [images for images in self.images.values() if self._takes(images, who)]
        if here in possible:
            return here
        free = [images for images in possible if not images.at]
        if free:
            # The first of the least, so that references come before what is held against them.
            return min(
                free, key=lambda i: (i.checkpoint != near, i.checkpoint in taken, self._late(i))
            )
        helped = [images for images in possible if self.helps(images)]
        return max(helped, key=lambda i: i.left / (1 + len(i.at)), default=None)

    def _late(self, images: _Images) -> bool:
        """Whether others can help with images from their first batch on, so that they are best
        left for the end: nobody can help a worker that calibrates."""
        return images.calibration is not None and images.calibration in self.calibrated

    def helps(self, images: _Images) -> bool:
        """Whether one more worker pays."""
        return images.left > self.setup

    def _takes(self, images: _Images, who: int) -> bool:
        """Whether a worker may be sent to images: some wait, and the calibration too is there, or
        nobody is at it."""
        by = self.calibrating.get(images.calibration, who) if images.calibration else who
        return bool(images.waiting) and by == who

    def tell(self, who: int, told: Progress | Done | Record) -> None:
        """Take in what a worker tells."""
        item = self.busy[who]
        if isinstance(told, Progress):
            if isinstance(item, Part) and told.stage == SAMPLING:
                self._calibrated(item)
            return
        del self.busy[who]
        if isinstance(item, Part):
            self._calibrated(item)
            images = self.images[item.images.folder]
            images.at.discard(who)
            if isinstance(told, Done):
                self._count(images, told)
                self.spent.setdefault(item.images.folder, Counter()).update(told.seconds)
                if told.error:
                    # The cell itself comes to the same error, and its record says so.
                    images.waiting.clear()

    def _count(self, images: _Images, told: Done) -> None:
        # What another command is at took no time, and tells nothing of how long the rest takes.
        if not told.seconds:
            return
        setup = sum(told.seconds.get(stage, 0.0) for stage in SETUP)
        images.made += 1
        images.seconds += sum(told.seconds.values()) - setup
        self.setup = min(self.setup, setup or self.setup)

    def _calibrated(self, part: Part) -> None:
        self.calibrating.pop(part.images.calibration, None)
        self.calibrated.add(part.images.calibration)

    def lost(self, who: int, reason: str) -> list[Record | Done]:
        """Take in that a worker is gone: what it was at waits again.

        Returns:
            Where it was tried often enough, what is told of it: a record of each cell that cannot
            be finished, or of a part alone that it is not done.
        """
        item = self.busy.pop(who)
        self.place.pop(who, None)
        self.tries[str(item)] += 1
        if isinstance(item, Part):
            images = self.images[item.images.folder]
            images.at.discard(who)
            if images.calibration and self.calibrating.get(images.calibration) == who:
                del self.calibrating[images.calibration]
            images.waiting.appendleft(item)
        else:
            self.cells.appendleft(item)
        return [] if self.tries[str(item)] < TRIES else self._given_up(item, reason)

    def _given_up(self, item: Item, reason: str) -> list[Record | Done]:
        """Leave a piece of work, and the cells that need it."""
        folder = item.images.folder
        if isinstance(item, Part):
            self.images[folder].waiting.clear()
            lost = [w for w in self.cells if folder in [i.folder for i in parts.needed(w)]]
        else:
            lost = [item]
        for wanted in lost:
            self.cells.remove(wanted)
        told: list[Record | Done] = [
            Record(w.cell, w.host, "failed", None, (), {}, error=reason) for w in lost
        ]
        return told if told or not isinstance(item, Part) else [Done(item, {}, reason)]
