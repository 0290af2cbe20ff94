"""The order in which runs were made: by the time in each run.json, not by the folder's name.

Runs of one second, and runs whose time cannot be read, go by the time and number in their names.
A clock that was wrong is told where it shows: a run that says it was made in the future is newer
than everything that follows, until somebody removes it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

_STATED = re.compile(rb'"created":\s*"([^"]{1,64})"')
_NAMED = re.compile(r"\d{8}T\d{6}Z")
# `created` stands at the top of the files that bench writes.
HEAD = 4096
# Clocks of two machines may differ by this much.
SLACK = timedelta(minutes=5)
OLDEST = datetime.min.replace(tzinfo=timezone.utc)


def moment(text: str) -> datetime | None:
    """The time that a text states, in UTC where it names no zone; None where it states none."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return time.replace(tzinfo=time.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def created(folder: Path) -> datetime | None:
    """When the run in a folder says it was made, None where it does not say so readably."""
    path = folder / "run.json"
    try:
        # Reading a pipe would wait for ever.
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            match = _STATED.search(stream.read(HEAD))
        text = match[1].decode() if match else str(json.loads(path.read_bytes())["created"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return moment(text)


def ordered(folders: Iterable[Path]) -> list[Path]:
    """Folders of runs, oldest first."""
    return sorted(folders, key=_key)


def doubts(folders: Iterable[Path], now: datetime | None = None) -> list[str]:
    """Doubts about the times of runs, one line each.

    Args:
        folders: folders of all runs.
        now: the present time, by the clock where it is not given.
    """
    limit = (now or datetime.now(timezone.utc)) + SLACK
    return [
        f"run {folder.name} says it was made at {when:%Y-%m-%d %H:%M} UTC, still to come: a "
        f"clock was wrong, and until then it counts as the newest run"
        for folder in folders
        if (when := created(folder)) and when > limit
    ]


def _key(folder: Path) -> tuple[datetime, list[tuple[int, str]], str]:
    when = created(folder)
    if when is None and (match := _NAMED.match(folder.name)):
        with contextlib.suppress(ValueError):
            stated = datetime.strptime(match[0], "%Y%m%dT%H%M%SZ")
            when = stated.replace(tzinfo=timezone.utc)
    parts = re.findall(r"(\d+)|(\D+)", folder.name)
    return when or OLDEST, [(int(digits or 0), text) for digits, text in parts], folder.name
