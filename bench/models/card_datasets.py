"""Folders of images on a card: their paths are relative to the card, as those of weights are.

On the command line `folder:photos@64` is seen from the working folder. A card is read and written
so that its folder stays the same wherever the command is called: what is loaded has the path from
the working folder (or an absolute one, for a folder outside of it), what is written the path from
the card. Absolute paths and those of a home stay as they are.
"""

from __future__ import annotations

import os
from pathlib import Path

PREFIX = "folder:"


def from_here(card: Path, dataset: str) -> str:
    """The data set of a card, seen from the working folder.

    Args:
        card: the card file.
        dataset: as on the card, `folder:PATH` or `folder:PATH@SIZE`, or any other name.
    """
    here = Path.cwd()
    joined = _joined(card.absolute().parent, dataset)
    if not joined or card.absolute().parent == here:
        return dataset
    return PREFIX + (os.path.relpath(joined, here) if _is_inside(joined, here) else joined)


def from_card(card: Path, dataset: str) -> str:
    """The data set of the command line, as it is written on a card.

    Args:
        card: the card file, which need not be there yet.
        dataset: seen from the working folder.
    """
    here, folder = Path.cwd(), card.absolute().parent
    joined = _joined(here, dataset)
    if not joined or folder == here:
        return dataset
    has_both = _is_inside(joined, here) and _is_inside(str(folder), here)
    near = has_both or _is_inside(joined, folder)
    return PREFIX + (os.path.relpath(joined, folder) if near else joined)


def _joined(folder: Path, dataset: str) -> str:
    """The absolute path of a relative one; "" for all else."""
    argument = dataset.removeprefix(PREFIX)
    if argument in ("", dataset) or argument.startswith("~") or Path(argument).is_absolute():
        return ""
    return os.path.normpath(folder / argument)


def _is_inside(path: str, folder: Path) -> bool:
    return Path(path).is_relative_to(folder)
