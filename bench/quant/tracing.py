"""What an error of tracing a network says of the code that it could not trace."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.core.printable import short

# Folders of code that is not the network's author's.
OTHERS = tuple(
    str(folder)
    for folder in (
        Path(torch.__file__).parent,
        Path(__file__).parents[1],
        sysconfig.get_paths()["stdlib"],
    )
)


def cause(error: BaseException) -> str:
    """The kind of an error, the first line of its message, and the last line of the network's own
    code on the way to it, with its text where that is known."""
    said = str(error).strip().partition("\n")[0].partition(" (unhinted")[0]
    words = f"{type(error).__name__}: {short(said, 160)}"
    places = [frame for link in _chain(error) for frame in _own(link)]
    if not places:
        return words
    last = places[-1]
    text = f" `{short(last.line, 80)}`" if last.line else ""
    return f"{Path(last.filename).name}, line {last.lineno}{text}: {words}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _own(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    site = [path for path in sys.path if path.endswith("-packages")]
    own = [f for f in frames if not f.filename.startswith((*OTHERS, "<"))]
    # Other packages are no author's either, unless the network is one of theirs.
    return [f for f in own if not f.filename.startswith(tuple(site))] or own
