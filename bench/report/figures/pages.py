"""Figures on pages: what is drawn does not grow with the run, the number of files does.

The first page of a figure has its plain name, `loss_by_method.png`, the others are numbered:
`loss_by_method-2.png`. A page holds blocks of lines, one for each scheme and kernel; a block that
no page holds goes on on the next ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Head = TypeVar("Head")
Line = TypeVar("Line")
Block = tuple[Head, list[Line]]
# Lines that fit on a page, and those that the title of a block and its room take.
MOST, TITLE = 44.0, 1.6


def name(stem: str, page: int) -> str:
    """The file name of a page, counted from 0."""
    return f"{stem}.png" if page == 0 else f"{stem}-{page + 1}.png"


def written(folder: Path, stem: str) -> list[Path]:
    """The pages of a figure that are in a folder, in order."""
    pages = {}
    for path in folder.glob(f"{stem}*.png"):
        if match := re.fullmatch(rf"{re.escape(stem)}(?:-(\d+))?\.png", path.name):
            pages[int(match[1] or 1)] = path
    return [pages[number] for number in sorted(pages)]


def split(blocks: Iterable[Block[Head, Line]]) -> list[list[Block[Head, Line]]]:
    """The blocks of each page: whole ones as long as they fit, longer ones cut."""
    pages: list[list[Block[Head, Line]]] = []
    left = 0.0
    for head, lines in blocks:
        rest = list(lines)
        while rest:
            if not pages or left < TITLE + min(len(rest), MOST - TITLE):
                pages.append([])
                left = MOST
            taken = rest[: int(left - TITLE)]
            pages[-1].append((head, taken))
            rest = rest[len(taken) :]
            left -= TITLE + len(taken)
    return pages


def share_range(columns: Sequence[Axes]) -> None:
    """Give panels of several pages one range of x, so that they compare by eye."""
    ends = [axes.get_xlim() for axes in columns]
    for axes in columns:
        axes.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))
