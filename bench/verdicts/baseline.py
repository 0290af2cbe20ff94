"""The pinned baseline: the run that a change is held against until somebody accepts another one.

`baseline.jsonl` in the folder of the runs is append-only, one JSON object a line with the run's
id, the reason and the time; the last line holds. Moving the baseline is thus a commit that says
why, and the runs it left behind stay readable.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from bench.core import border, sound
from bench.core.errors import InputError
from bench.system import store
from bench.system.runs import find_run, read_run

NAME = "baseline.jsonl"


@dataclass(frozen=True)
class Pin:
    """An accepted baseline: `run` is an id, `accepted` a UTC time."""

    run: str
    reason: str
    accepted: str


def pins(reports: Path) -> list[Pin]:
    """All accepted baselines, oldest first.

    Raises:
        InputError: a line cannot be read.
    """
    path = reports / NAME
    if not border.exists(path):
        return []
    accepted = []
    # Not `splitlines`: a reason may hold other ends of lines.
    lines = border.text(path, "a list of accepted baselines").removesuffix("\n").split("\n")
    for k, line in enumerate(lines, 1):
        try:
            accepted.append(border.build(Pin, border.parse(line)))
            sound.name("run", accepted[-1].run)
        except ValueError as error:
            raise InputError(
                f"{path}, line {k}: not an accepted baseline ({error}); restore it"
            ) from None
    return accepted


def pinned(reports: Path) -> Path:
    """The folder of the baseline.

    Raises:
        InputError: none was accepted, or its run is gone.
    """
    accepted = pins(reports)
    if not accepted:
        raise InputError(
            f"no baseline in {reports}: accept one with `bench baseline accept RUN --reason TEXT`"
        )
    folder = reports / accepted[-1].run
    if not (folder / "run.json").is_file():
        raise InputError(f"the baseline {accepted[-1].run} is not in {reports}: restore it")
    return folder


def accept(reports: Path, name: str, reason: str) -> Pin:
    """Pin a run of `reports` and return the new line.

    Raises:
        InputError: no reason, no such run there, or nothing was measured in it.
    """
    if not reason.strip():
        raise InputError("--reason needs a text: why does the baseline move?")
    folder = find_run(reports, name)
    if folder.resolve().parent != reports.resolve():
        raise InputError(f"{folder} is not in {reports}: name that folder with --out DIR")
    if not any(record.status == "ok" for record in read_run(folder).records):
        raise InputError(f"nothing was measured in {folder.name}: accept another run")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    pin = Pin(folder.resolve().name, " ".join(reason.split()), now)
    # Without the lock, two processes that accept at once would lose one of the lines.
    with store.locked(reports):
        lines = [json.dumps(asdict(each), ensure_ascii=False) for each in (*pins(reports), pin)]
        store.save_text(reports / NAME, "\n".join(lines) + "\n")
    return pin
