"""What a report of a fault needs, as Markdown to paste into an issue: machine, versions, the run.

Host name, users and folders are left out (`bench.report.redaction`). Issues have a limit of
length, so of all cells the outcome is told, and one record is given whole: the first that failed,
else the first that was refused, else the first.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench import __version__
from bench.core.printable import plain
from bench.core.record import Record, Run, to_json
from bench.report.formatting import escape, table
from bench.report.redaction import redacted

# Rows of cells that are told one by one; characters of the record that is given whole.
MOST_ROWS = 40
MOST_CHARACTERS = 40_000
ORDER = ("failed", "refused", "ok")


def bug(run: Run, folder: Path) -> str:
    """The Markdown of a run for an issue; nothing of `folder` is told."""
    shown = redacted(run)
    ranked = sorted(shown.records, key=lambda record: ORDER.index(record.status))
    lines = [
        f"bench {__version__}; run {escape(shown.id)} of commit {escape(shown.commit[:12])}",
        "",
        f"    {plain(shown.command)}",
        "",
        *_machines(ranked),
        "",
        *_outcomes(ranked),
    ]
    if ranked:
        lines += ["", *_whole(shown, ranked[0])]
    return "\n".join([*lines, "", "What did you expect, and what happened?", ""])


def _machines(records: list[Record]) -> list[str]:
    """Each kind of machine that made a record, with its versions."""
    lines = []
    for host in dict.fromkeys(
        (r.host.device, r.host.isa, r.host.threads, tuple(sorted(r.host.versions.items())))
        for r in records
    ):
        device, isa, threads, versions = host
        told = ", ".join(f"{name} {version}" for name, version in versions)
        lines.append(f"- {escape(device)}, {escape(isa)}, {threads} threads: {escape(told)}")
    return lines


def _outcomes(records: list[Record]) -> list[str]:
    """The outcome of each cell, failed ones first."""
    body = [
        [escape(str(record.cell)), record.status, escape(record.error)]
        for record in records[:MOST_ROWS]
    ]
    lines = table(["Cell", "Outcome", "Reason"], body, left=3)
    if (more := len(records) - MOST_ROWS) > 0:
        lines += ["", f"and {more} more cells"]
    return lines


def _whole(run: Run, record: Record) -> list[str]:
    """One record with the head of its run, as JSON that is folded."""
    text = to_json(replace(run, records=(record,)))
    if len(text) > MOST_CHARACTERS:
        coverage = record.coverage and replace(record.coverage, layers=(), skipped=())
        text = to_json(replace(run, records=(replace(record, coverage=coverage),)))
    summary = f"<details><summary>run.json of {escape(str(record.cell))}</summary>"
    return [summary, "", "```json", text.strip()[:MOST_CHARACTERS], "```", "", "</details>"]
