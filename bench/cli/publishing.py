"""Writes the folder of a run, whole: its JSON, influences, samples, report and figures."""

from __future__ import annotations

import contextlib
import importlib
import shlex
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.record import Fit, Record, Run, to_json
from bench.report import redaction
from bench.system import influences, interrupts, store
from bench.system.checkout import git_state
from bench.system.influences import Influences
from bench.system.quiet import quiet_import
from bench.system.runs import sample_name, save_strip

# What draws figures.
DRAWING = "matplotlib.backends.backend_agg", "matplotlib.figure"
# Influences (N,) of a record's numbers, named as in a run's file, and its strip of samples.
Kept = Callable[[Record], tuple[Influences, np.ndarray]]


def described(
    outcomes: Sequence[Record],
    checked: Sequence[Fit] = (),
    engine: Mapping[str, str] | None = None,
) -> Run:
    """The run as it is written, under the name that it is to have; `engine` as in `Run`."""
    commit, dirty = git_state(Path.cwd())
    now = datetime.now(timezone.utc)
    stem = f"{now:%Y%m%dT%H%M%SZ}-{commit[:8] or 'nogit'}"
    created = now.isoformat(timespec="seconds")
    records = tuple(outcomes)
    return Run(
        stem,
        created,
        commit,
        dirty,
        command_line(),
        records,
        fits=tuple(checked),
        engine=engine or {},
    )


def write(out: Path, run: Run, kept: Kept, redact: bool) -> Path:
    """Write a run under a temporary name and rename it, so that it appears whole.

    Args:
        out: the folder of runs.
        run: as `described`.
        kept: what a run keeps of a measured record.
        redact: leave out host name, users' names and folders.
    """
    from bench import report as rendering

    def fill(folder: Path, identity: str) -> None:
        named = replace(run, id=identity)
        named = redaction.redacted(named) if redact else named
        store.save_text(folder / "run.json", to_json(named))
        terms: dict[str, Any] = {}
        for record, shown in zip(run.records, named.records, strict=True):
            if record.status == "ok":
                own, strip = kept(record)
                terms |= own
                save_strip(folder / "samples" / sample_name(shown.cell), strip)
        influences.save(folder / influences.NAME, redaction.influences_of(run, named, terms))
        rendering.render(named, folder)

    folder = store.publish(out, run.id, fill)
    rendering.write_index(out)
    return folder


def load_beside() -> None:
    """Begin to load what draws figures, in a thread: in a process that waits for its workers it
    costs nothing, and at the end of a run a second."""
    # A Ctrl-C is for the thread that waits.
    with interrupts.held_back():
        threading.Thread(target=_load, daemon=True).start()


def _load() -> None:
    # Whatever is the matter is told where a figure is drawn.
    with contextlib.suppress(Exception), quiet_import():
        for name in DRAWING:
            importlib.import_module(name)


def nearer_than_the_floor(run: Run, folder: Path) -> list[str]:
    """The cells of a written run whose images moved less than the noise floor, a line each."""
    from bench.report import floors
    from bench.report.rows import rows

    if not any(record.cell.is_floor for record in run.records):
        return []
    told = floors.nearer(rows(run), influences.load(folder / influences.NAME))
    return [f"{row.record.cell}: {text}" for row, text in told]


def command_line() -> str:
    """This command as a shell takes it; bytes that are no text stand escaped."""
    line = shlex.join(["bench", *sys.argv[1:]])
    return line.encode(errors="backslashreplace").decode()
