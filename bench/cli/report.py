"""`bench report`: render a run again, and print it in a format."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import images
from bench.cli.flags import Out, Redact
from bench.core import border, probe_record
from bench.core.errors import InputError, offer
from bench.core.printable import quoted
from bench.core.record import Run, to_json
from bench.report import redaction
from bench.system import influences, store
from bench.system.runs import find_run, read_run, sample_name, sample_path


def report(
    name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Id or folder [default: the last run].")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Name of a format.")
    ] = "markdown",
    out: Out = Path("reports"),
    redact: Redact = False,
) -> None:
    """Render a run again: report.md and figures in its folder; the chosen format to stdout.

    With --redact a copy in the folder `redacted` of the run's own is rendered instead. The format
    images writes the images that the cache still holds as PNG files, a folder for each cell.
    """
    _render(out, name, format, redact)


def _render(out: Path, name: str | None, form: str, redact: bool = False) -> None:
    """Render a run again and print it.

    Args:
        out: the folder of runs.
        name: of the run, None for the newest.
        form: the format that is printed.
        redact: render a copy in the folder `redacted` of the run, without host name, users' names
            and folders; the run itself stays as it is.
    """
    from bench import report as rendering

    known = [*rendering.FORMATS, images.FORMAT]
    if form not in known:
        raise InputError(f"unknown format {quoted(form)}: {offer(form[:100], known)}")
    folder = find_run(out, name)
    run = read_run(folder)
    store.check_writable(folder, "copy the run to a folder of yours, and name that")
    store.sweep(folder)
    if form == images.FORMAT:
        for target in images.export(run, folder):
            print(target)
        return
    if redact:
        folder = _redacted_copy(folder, run)
        run = read_run(folder)
        print(folder / "report.md", file=sys.stderr)
    rendering.render(run, folder)
    if not redact:
        rendering.write_index(folder.resolve().parent)
    print(rendering.FORMATS[form](run, folder), end="")


def _redacted_copy(folder: Path, run: Run) -> Path:
    """A folder inside a run's own, with the run and what was probed redacted, and its images."""
    target, shown = folder / "redacted", redaction.redacted(run)
    store.save_text(target / "run.json", to_json(shown))
    for record, named in zip(run.records, shown.records, strict=True):
        path = sample_path(folder / "samples", record.cell)
        if path.is_file():
            with store.atomic(target / "samples" / sample_name(named.cell)) as temporary:
                shutil.copyfile(path, temporary)
    if border.exists(folder / influences.NAME):
        terms = influences.load(folder / influences.NAME)
        influences.save(target / influences.NAME, redaction.influences_of(run, shown, terms))
    if (path := folder / probe_record.FILE).is_file():
        probed = probe_record.from_json(path.read_text(encoding="utf-8"))
        text = probe_record.to_json(redaction.redacted_probes(probed, run))
        store.save_text(target / probe_record.FILE, text)
    return target
