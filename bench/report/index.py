"""The list of all runs in a folder, newest first; a run that cannot be read is listed as such."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from bench.core.errors import InputError
from bench.report.formatting import NONE, decimal_places, escape, measured, table
from bench.report.ranking_words import NAMES
from bench.report.rows import rows, schemes, worst
from bench.system.runs import read_run, run_folders

HEADER = (
    "Run",
    "Created",
    "Commit",
    "Schemes",
    "Checkpoints",
    "N",
    "Cells",
    "Farthest from full precision",
)
# Errors that a damaged file may raise while it is read and summarised.
UNREADABLE = (InputError, ValueError, TypeError, AttributeError, KeyError)


def index(reports: Path) -> str:
    """The index page of a folder of runs."""
    lines = []
    for folder in reversed(run_folders(reports)):
        try:
            lines.append(_line(folder))
        except UNREADABLE as error:
            reason = escape(f"unreadable: {error}")
            lines.append([escape(folder.name), *[NONE] * (len(HEADER) - 2), reason])
    body = table(HEADER, lines, left=len(HEADER)) if lines else ["No runs yet."]
    return "\n".join(["# Runs", "", *body]) + "\n"


def _line(folder: Path) -> list[str]:
    run = read_run(folder)
    all_rows = rows(run)
    name = escape(folder.name)
    linked = (
        f"[{name}]({quote(folder.name)}/report.md)" if (folder / "report.md").is_file() else name
    )
    cells = f"{sum(row.ok for row in all_rows)} of {len(all_rows)}"
    loss = NONE
    if pair := worst(all_rows):
        row, value = pair
        name_of_metric = NAMES[next(field for field in NAMES if getattr(row, field) is value)]
        text = measured(value, decimal_places([value]), unit=value.unit)
        loss = f"{name_of_metric} {text} ({escape(f'{row.checkpoint} {row.scheme}')})"
    return [
        linked,
        escape(run.created),
        escape(run.commit[:8] + ("+" if run.dirty else "")) or NONE,
        escape(", ".join(str(scheme) for scheme in schemes(all_rows) if not scheme.is_float))
        or NONE,
        escape(", ".join(dict.fromkeys(row.checkpoint for row in all_rows))) or NONE,
        ", ".join(str(count) for count in sorted({row.images for row in all_rows})) or NONE,
        cells,
        loss,
    ]
