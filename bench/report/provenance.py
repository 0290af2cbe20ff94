"""Where the numbers of a run come from: machines, versions, commit and command."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.record import Run
from bench.report.formatting import escape
from bench.report.rows import CellRow

# What of a run's engine says why its integer kernels were chosen.
KERNELS = "kernels"


def hosts(all_rows: Sequence[CellRow]) -> list[str]:
    """The machines that measured, with the versions of their libraries."""
    lines: list[str] = []
    seen = []
    for host in (row.record.host for row in all_rows):
        if host not in seen:
            seen.append(host)
            text = f"{host.name}: {host.device}, {host.isa}, {host.threads} threads"
            versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
            lines.append(f"- {escape(text)}; {escape(versions)}")
    return lines


def lines(run: Run) -> list[str]:
    """When, from which commit and by which command a run was made."""
    state = "with uncommitted changes" if run.dirty else "clean checkout"
    commit = f"{escape(run.commit)}, {state}" if run.commit else "none: not in a git checkout"
    engine = ", ".join(text for name, text in run.engine.items() if name != KERNELS)
    kernels = run.engine.get(KERNELS, "")
    return [
        f"- Created: {escape(run.created)}",
        f"- Commit: {commit}",
        f"- Command: {escape(run.command)}",
        *([f"- Engine: {escape(engine)}"] if engine else []),
        *([f"- Chosen: {escape(kernels)}"] if kernels else []),
        f"- Schema of run.json: {run.schema}",
    ]
