"""Scores images that bench did not make: the records of a run out of folders of pictures.

    REFERENCE, TESTs -> pairs (`pairing`) -> image sets -> measurements (`scoring`) -> records

The reference stands as full precision, each test as a scheme of its own whose quantization is not
known. Nothing but features is kept in the cache; pictures are decoded to look at them, for all
metrics of pairs at once, and for features, so memory and disk stay flat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import border, extensions
from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.elsewhere import BACKEND, FLOOR, SOURCE, UNKNOWN, Elsewhere
from bench.core.errors import InputError
from bench.core.images import BATCH, ImageSet, RealSplit
from bench.core.progress import finished
from bench.core.protocols import Statistics
from bench.core.record import Host, Record
from bench.core.scheme import Scheme
from bench.evaluation import pairing, planning, prompted
from bench.evaluation.extraction import extractor
from bench.evaluation.resolved import described
from bench.evaluation.scoring import Real, ScoredImages, Scoring
from bench.measurement import real
from bench.measurement.data import prompts
from bench.measurement.data.pictures import PictureRows, Pictures, counted, strip
from bench.measurement.features import reference, statistics_files
from bench.system import influences, store
from bench.system.timing import Stopwatch

# Values of images whose features are extracted at once: 21 of 2048 x 2048 pixels in colour.
VALUES = 1 << 28
# What is measured by default: without real images, with their statistics alone, with all.
WITHOUT_REAL = ("psnr", "ssim", "ms_ssim", "frechet_twin")
WITH_STATISTICS = (*WITHOUT_REAL, "frechet")


@dataclass(frozen=True)
class Asked:
    """What is to be scored.

    Attributes:
        places: pictures by label, the reference first and at least one test.
        real: a data set, a file of statistics, or "" for none.
        extractors, metrics: as in a run; none for the defaults, "+NAME" beside them.
        kernel, note: what the user says of the images.
        floors: labels of the tests that are the noise floor: what everyone accepts.
        may_leave_out: whether pictures that cannot be compared are left out.
        prompts: a file of the texts that the pictures were made from, or "" for none.
        batch: images of which features are extracted at once, at most.
    """

    places: Mapping[str, Pictures]
    real: str = ""
    extractors: Sequence[str] = ()
    metrics: Sequence[str] = ()
    kernel: str = ""
    note: str = ""
    floors: Sequence[str] = ()
    may_leave_out: bool = False
    prompts: str = ""
    batch: int = BATCH


@dataclass(frozen=True)
class Scored:
    """The outcome: a record of the reference and of each test, and what a run keeps beside them.

    Attributes:
        records: the reference first.
        terms: influences (N,), named as in a run's file.
        strips: the first pictures of each cell side by side, uint8 (S, 16 * S, C).
    """

    records: tuple[Record, ...]
    terms: Mapping[str, np.ndarray] = field(default_factory=dict)
    strips: Mapping[Cell, np.ndarray] = field(default_factory=dict)


def cells(asked: Asked, images: int, sha256: str = "") -> list[Cell]:
    """The cells of the reference and of each test, every name checked.

    Args:
        images: number of pairs.
        sha256: of the reference's pictures, "" while it is not known.

    Raises:
        InputError: unknown names, real images whose features are missing, or too few pairs.
    """
    first, *tests = asked.places
    name = asked.real or UNKNOWN
    if _is_file(asked.real):
        name = Path(asked.real).name
    elif asked.real:
        extensions.require("datasets", asked.real)
    path = str(asked.places[first].path)
    card = Checkpoint(first, first, SOURCE, SOURCE, path, sha256, name)
    draw = Draw(BACKEND, 1, images, spacing="", dtype="uint8", batch=min(asked.batch, images))
    full = Cell(card, Scheme(), "float", draw, **_scoring(asked))
    planning.check_scoring([full])
    if asked.real and not _is_file(asked.real):
        real.check(full)
    scored = [
        replace(
            full,
            scheme=Scheme(elsewhere=test),
            backend=FLOOR if test in asked.floors else BACKEND,
        )
        for test in tests
    ]
    return [full, *scored]


def _scoring(asked: Asked) -> dict[str, Any]:
    """The fields of a cell that say how it is scored."""
    fields = planning.scoring(asked.extractors, asked.metrics, "test")
    default = Cell.metrics if asked.real else WITHOUT_REAL
    if _is_file(asked.real):
        default = WITH_STATISTICS
    given = planning.metric_names(fields.pop("metrics", ()), default)
    if not asked.real:
        for name in given:
            if extensions.lookup("metrics", name).needs:
                raise InputError(f"metric {name} compares with real images: name some by --real")
    return {**fields, "metrics": given}


def _is_file(named: str) -> bool:
    return named.lower().endswith(".npz") and border.is_file(Path(named))


def score(
    asked: Asked, host: Host, cache: Path, tell: Callable[[str], object] = lambda line: None
) -> Scored:
    """Score all tests against the reference.

    Args:
        host: this machine.
        cache: the cache folder, for features.
        tell: is called with lines for the user.

    Raises:
        InputError: bad names or pictures, before anything is computed.
    """
    known = _real(asked, check(asked))
    pairs = pairing.paired(asked.places, asked.may_leave_out, tell)
    planned = cells(asked, len(pairs.names), pairs.digests[next(iter(asked.places))])
    scored = _Scored(asked, pairs, Scoring(host, cache, Stopwatch()), known)
    for line in prompted.remarks(planned[0].metrics, scored.prompts):
        tell(line)
    for cell in planned:
        label = cell.checkpoint.name if cell.is_reference else str(cell.scheme)
        tell(f"{label}: {len(pairs.names):,} images")
        scored.add(cell)
    return Scored(tuple(scored.records), scored.terms, scored.strips)


def check(asked: Asked) -> Cell:
    """Check all but the pictures themselves: names, real images, prompts, weights. The
    reference's cell.

    Raises:
        InputError: any of them is bad.
    """
    names = pairing.common(asked.places)[0]
    full = cells(asked, len(names))[0]
    if prompted.read(asked.prompts, names) is None:
        prompted.refuse(full.metrics)
    for name in full.extractors:
        extractor(name)
    for name in full.metrics:
        extensions.lookup("metrics", name)()
    return full


def _real(asked: Asked, full: Cell) -> Real:
    """What distances are taken to."""
    if not asked.real:
        return None
    if not _is_file(asked.real):
        return RealSplit(asked.real, full.real)
    if len(full.extractors) > 1:
        raise InputError(f"{asked.real} holds statistics of one extractor: name one")
    for name in full.metrics:
        if extensions.lookup("metrics", name).needs == "features":
            raise InputError(
                f"metric {name} needs the features of real images, and {asked.real} holds "
                f"statistics alone: leave it out"
            )
    return statistics_files.read(Path(asked.real), full.extractors[0])


class _Scored:
    """Cells that were scored so far, as in `Scored`."""

    def __init__(self, asked: Asked, pairs: pairing.Paired, scoring: Scoring, known: Real) -> None:
        self.asked, self.pairs, self.scoring, self.known = asked, pairs, scoring, known
        self.records: list[Record] = []
        self.terms: dict[str, np.ndarray] = {}
        self.strips: dict[Cell, np.ndarray] = {}
        self.reference = next(iter(asked.places))
        # The same object for all tests: metrics may keep what they made of it.
        self.reference_rows = self._made(self.reference)
        self.prompts = prompted.read(asked.prompts, pairs.names)

    def add(self, cell: Cell) -> None:
        """Score a cell."""
        label = self.reference if cell.is_reference else str(cell.scheme)
        rows, watch = self._rows(label), self.scoring.watch
        watch.reset()
        test = self._set(label, rows, cell.draw.batch)
        twins = None
        if not cell.is_reference:
            twins = self._set(self.reference, self.reference_rows, cell.draw.batch)
        images = ScoredImages(test, twins, self.known, prompts=self.prompts)
        steps = self.scoring.measure(images, cell.extractors, cell.metrics)
        measured, unmeasured = finished(steps)
        entries = [("extractors", name) for name in cell.extractors]
        entries += [("metrics", name) for name in cell.metrics]
        record = Record(
            cell,
            described(self.scoring.host, cell, entries),
            "ok",
            None,
            tuple(value for value, _ in measured.values()),
            dict(watch.seconds),
            error=unmeasured,
            real=real.by_extractor(cell, self._digest),
            real_images=real.by_extractor(cell, self._count),
            equal=None if cell.is_reference else self.pairs.equal[label],
            elsewhere=self._elsewhere(label),
        )
        self.records.append(record)
        self.strips[cell] = strip(rows)
        for name, (_, values) in measured.items():
            if np.isfinite(values).all():
                self.terms[influences.key(cell, name)] = values

    def _rows(self, label: str) -> PictureRows:
        return self.reference_rows if label == self.reference else self._made(label)

    def _made(self, label: str) -> PictureRows:
        pairs = self.pairs
        return PictureRows(self.asked.places[label], pairs.names, pairs.sizes, pairs.channels)

    def _set(self, label: str, rows: PictureRows, batch: int) -> ImageSet:
        largest = self.pairs.channels * max(h * w for h, w in self.pairs.sizes)
        key = f"{self.pairs.digests[label]} {self.pairs.channels}"
        return ImageSet(rows, label, key, self.pairs.names, max(1, min(batch, VALUES // largest)))

    def _digest(self, dataset: str, extractor_name: str, split: str) -> str:
        """SHA-256 of what is known of the real images."""
        if isinstance(self.known, Statistics):
            return store.sha256(Path(self.asked.real))
        return reference.digest(dataset, extractor_name, split)

    def _count(self, dataset: str, extractor_name: str, split: str) -> int:
        """How many real images there are, 0 where that is not known."""
        if isinstance(self.known, Statistics):
            return self.known.count
        return real.count(dataset, extractor_name, split)

    def _elsewhere(self, label: str) -> Elsewhere:
        pairs = self.pairs
        return Elsewhere(
            pairs.digests[label],
            hashlib.sha256("\n".join(pairs.names).encode(errors="surrogateescape")).hexdigest(),
            counted(pairs.sizes),
            {reason: len(names) for reason, names in pairs.left_out.items()},
            {reason: names[: pairing.SHOWN] for reason, names in pairs.left_out.items()},
            self.asked.kernel if label != self.reference else "",
            self.asked.note,
            prompts.digest(self.prompts) if self.prompts else "",
        )
