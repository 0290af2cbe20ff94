"""Sample images as one picture: a row for each checkpoint and scheme, a column for each image.

Full precision and the quantized rows of a checkpoint lie under each other, so the same noise is in
one column. Images are scaled by repeating pixels, never smoothed.
"""

from __future__ import annotations

import bisect
import functools
import io
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.printable import on_figure
from bench.report import elsewhere
from bench.report.rows import CellRow, labels
from bench.system.runs import sample_path

if TYPE_CHECKING:
    import numpy as np

MOST_IMAGES, FEW_IMAGES = 16, 6
MOST_BYTES = 150_000
MOST_ROWS = 60
TILE = 56
WIDTH = 1100
GAP, GROUP_GAP = 2, 14
FONT = 10.0
DPI = 100


def draw(all_rows: Sequence[CellRow], samples: Path) -> bytes | None:
    """The picture as PNG bytes, or None where no row has a readable strip of samples.

    Columns are left out, then the scaling, until the file is small enough to keep; of very many
    rows only some are shown (`selection` says which).
    """
    strips = _selected(all_rows, samples)[0]
    if not strips:
        return None
    largest = max(max(images.shape[1:3]) for _, images in strips)
    sizes = _sizes(largest, max(len(images) for _, images in strips))
    drawn = functools.cache(lambda size: _picture(strips, *size))
    # A picture takes a tenth of a second; of one scaling, fewer columns make a smaller file.
    for _, scaled in itertools.groupby(sizes, key=operator.itemgetter(0)):
        some = [*scaled]
        fits = bisect.bisect_left(some, True, key=lambda size: len(drawn(size)) < MOST_BYTES)
        if fits < len(some):
            return drawn(some[fits])
    return drawn(some[-1])


def selection(all_rows: Sequence[CellRow], samples: Path) -> str:
    """Which rows the picture shows, as the end of its caption; "" for all of them."""
    if len(all_rows) <= MOST_ROWS:
        return ""
    return _selected(all_rows, samples)[1]


def _selected(
    all_rows: Sequence[CellRow], samples: Path
) -> tuple[list[tuple[CellRow, np.ndarray]], str]:
    """The rows that are shown with their images, and what was left out in words."""
    strips = [(row, images) for row in all_rows if (images := strip(row, samples)) is not None]
    if len(strips) <= MOST_ROWS:
        return strips, ""
    first: dict[tuple[str, str], str] = {}
    for row, _ in strips:
        first.setdefault((row.family, row.method), row.checkpoint)
    kept = [(row, i) for row, i in strips if row.checkpoint in first.values()][:MOST_ROWS]
    return kept, f": {len(kept)} of {len(strips)} cells, one training of each method"


def _sizes(largest: int, count: int) -> Iterator[tuple[int, int]]:
    """(tile, columns) from the most readable to the smallest: fewer images, then no scaling."""
    scaled = largest * max(1, round(TILE / largest))
    for tile, least in ((scaled, FEW_IMAGES), (largest, 2)):
        columns = min(count, max(2, WIDTH // tile))
        while columns >= min(least, count):
            yield tile, columns
            columns -= max(1, columns // 8)


def strip(row: CellRow, samples: Path) -> np.ndarray | None:
    """The images of a row, uint8 (n, H, W, 3), None where the file is missing or not a strip."""
    import numpy as np
    from PIL import Image

    count = min(MOST_IMAGES, row.images)
    try:
        with Image.open(sample_path(samples, row.cell)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None
    height, width = pixels.shape[:2]
    if width % count:
        return None
    return pixels.reshape(height, count, width // count, 3).swapaxes(0, 1)


def _picture(strips: Sequence[tuple[CellRow, np.ndarray]], tile: int, columns: int) -> bytes:
    """Compose the mosaic and write its labels around it."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    tops, height = _tops([row for row, _ in strips], tile)
    width = columns * (tile + GAP) - GAP
    mosaic = np.full((height, width, 3), 255, np.uint8)
    for top, (_, images) in zip(tops, strips, strict=True):
        for k, image in enumerate(images[:columns]):
            left = k * (tile + GAP)
            mosaic[top : top + tile, left : left + tile] = _scaled(image, tile)

    texts = _texts([row for row, _ in strips])
    # Names are bold, and so wider.
    characters = (0.74 * FONT * DPI / 72, 0.64 * FONT * DPI / 72)
    first, second = (
        math.ceil(character * max(map(len, column)) + 14)
        for character, column in zip(characters, texts, strict=True)
    )
    margin, head = first + second, 26
    figure = Figure(figsize=((margin + width + 8) / DPI, (head + height + 8) / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    total_width, total_height = (round(side * DPI) for side in figure.get_size_inches())
    for top, name, scheme in zip(tops, *texts, strict=True):
        y = 1 - (head + top + tile / 2) / total_height
        figure.text(8 / total_width, y, name, fontsize=FONT, weight="bold", va="center_baseline")
        figure.text(first / total_width, y, scheme, fontsize=FONT, va="center_baseline")
    for k in range(columns):
        x = (margin + k * (tile + GAP) + tile / 2) / total_width
        text = f"image {k}" if k == 0 and tile > 50 else str(k)
        figure.text(x, 1 - head / 2 / total_height, text, fontsize=9, ha="center", va="center")
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[..., :3]
    # Pasted after drawing, so that no resampling of matplotlib touches the samples.
    pixels[head : head + height, margin : margin + width] = mosaic
    grey = bool((pixels == pixels[..., :1]).all())
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _tops(members: Sequence[CellRow], tile: int) -> tuple[list[int], int]:
    """Top pixel of each row, with a wider gap between checkpoints, and the height of all."""
    tops, y = [], 0
    for k, row in enumerate(members):
        if k and row.checkpoint != members[k - 1].checkpoint:
            y += GROUP_GAP
        tops.append(y)
        y += tile + GAP
    return tops, y - GAP


def _texts(members: Sequence[CellRow]) -> tuple[list[str], list[str]]:
    """The two label columns: a checkpoint's name at its first row, scheme and kernel at each."""
    names = labels(members)
    kernels = len({row.kernel for row in members if not row.scheme.is_float}) > 1
    checkpoints, schemes = [], []
    for k, row in enumerate(members):
        begins = not k or row.checkpoint != members[k - 1].checkpoint
        checkpoints.append(on_figure(names[row.checkpoint]) if begins else "")
        kernel = f" {row.kernel}" if kernels and not row.scheme.is_float else ""
        schemes.append(on_figure(f"{elsewhere.scheme(row)}{kernel}"))
    return checkpoints, schemes


def _scaled(image: np.ndarray, tile: int) -> np.ndarray:
    """The image at `tile` x `tile` pixels by repeating pixels."""
    import numpy as np

    height, width = image.shape[:2]
    down, across = np.arange(tile) * height // tile, np.arange(tile) * width // tile
    return image[down][:, across]
