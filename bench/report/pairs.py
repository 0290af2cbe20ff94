"""Pairs of images for the page: those that moved farthest, and those of the middle.

How far an image moved is its LPIPS to full precision where that was measured, else its PSNR; the
pairs are picked among the images that the run kept. A picture has the full-precision images in its
upper row and the quantized ones of the same noise below.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.figures import grid
from bench.report.formatting import number
from bench.report.rows import CellRow
from bench.system.influences import Influences, key

if TYPE_CHECKING:
    import numpy as np

# Metrics that say how far an image moved, and their titles, the first one that was measured.
BY = (("lpips", "LPIPS"), ("psnr", "PSNR"))
# Pairs of each kind that are shown, and the sizes of all pictures of a page that are kept.
EACH, MOST_BYTES = 3, 1_200_000


@dataclass(frozen=True)
class Pairs:
    """The pairs of a cell.

    Attributes:
        captions: what each pair is, "worst of 16, image 3, PSNR 9.1 dB".
        picture: PNG bytes, two rows of equal images.
        size: (height, width) of an image.
    """

    row: CellRow
    captions: tuple[str, ...]
    picture: bytes
    size: tuple[int, int]

    @property
    def data(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.picture).decode()}"


def pairs(all_rows: Sequence[CellRow], samples: Path, influences: Influences) -> list[Pairs]:
    """The pairs of all quantized cells whose images were kept; fewer of each where pages would be
    large, and in the end fewer cells."""
    for each in range(EACH, 0, -1):
        made = [pair for row in all_rows if (pair := _pairs(row, samples, influences, each))]
        if sum(len(pair.picture) for pair in made) <= MOST_BYTES:
            return made
    kept, total = [], 0
    for pair in made:
        total += len(pair.picture)
        if total > MOST_BYTES:
            break
        kept.append(pair)
    return kept


def _pairs(row: CellRow, samples: Path, influences: Influences, each: int) -> Pairs | None:
    """The pairs of a row; None where its images or those of full precision are missing."""
    if row.reference is None or not row.ok:
        return None
    quantized, full = grid.strip(row, samples), grid.strip(row.reference, samples)
    if quantized is None or full is None or quantized.shape[1:] != full.shape[1:]:
        return None
    count = min(len(quantized), len(full))
    picked, captions = _picked(row, influences, count, each)
    import numpy as np

    rows = [np.concatenate(list(images[picked]), axis=1) for images in (full, quantized)]
    picture = _png(np.concatenate(rows, axis=0))
    height, width = full.shape[1:3]
    return Pairs(row, tuple(captions), picture, (height, width))


def _picked(
    row: CellRow, influences: Influences, count: int, each: int
) -> tuple[list[int], list[str]]:
    """Indices of the worst and the median images, and their captions; else the first ones."""
    for stem, title in BY:
        measurement = row.record.measurement(stem)
        terms = influences.get(key(row.cell, measurement.name)) if measurement else None
        if measurement is None or terms is None or len(terms) < count:
            continue
        values = measurement.value + terms[:count]
        order = sorted(range(count), key=values.__getitem__, reverse=measurement.better == "lower")
        middle = max(each, (count - each) // 2)
        kinds = [("worst", order[:each]), ("median", order[middle : middle + each])]
        picked = [(kind, k) for kind, ks in kinds for k in ks]
        unit = f" {measurement.unit}" if measurement.unit else ""
        digits = 1 if measurement.unit else 3
        captions = [
            f"{kind} of the {count} kept: image {k}, {title} {number(values[k], digits)}{unit}"
            for kind, k in picked
        ]
        return [k for _, k in picked], captions
    return list(range(min(2 * each, count))), [f"image {k}" for k in range(min(2 * each, count))]


def _png(pixels: np.ndarray) -> bytes:
    import numpy as np
    from PIL import Image

    grey = bool((pixels == pixels[..., :1]).all())
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
