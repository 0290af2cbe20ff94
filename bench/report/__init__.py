"""Reports: the numbers of a run as Markdown, figures, frames and an index. Does not import torch.

`rows` decides, `headline` and `markdown` write, `figures` and `grid` draw, `frames` exports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bench.core.record import Run
from bench.report import exports, probe_page
from bench.report.bug import bug
from bench.report.figures.run import draw
from bench.report.frames import as_json, csv, frame
from bench.report.html import page, write
from bench.report.index import index
from bench.report.markdown import markdown
from bench.system import store

__all__ = ["FORMATS", "draw", "frame", "markdown", "render", "write_index"]

FORMATS: Mapping[str, Callable[[Run, Path], str]] = {
    "markdown": markdown,
    "csv": csv,
    "json": as_json,
    "html": page,
    "junit": exports.junit,
    "github-benchmark": exports.github_benchmark,
    "github-benchmark-bigger": exports.github_benchmark_bigger,
    "bencher": exports.bencher,
    "bug": bug,
}


def render(run: Run, folder: Path) -> Path:
    """Draw the figures of a run, write report.md and report.html; returns the former's path.

    The figures and the page of probes beside the run are drawn and written again too.
    """
    draw(run, folder)
    if (probed := probe_page.beside(folder)) is not None:
        probe_page.render(probed, folder)
    path = folder / "report.md"
    store.save_text(path, markdown(run, folder))
    write(run, folder)
    return path


def write_index(reports: Path) -> Path:
    """Write the list of all runs of a folder to index.md; returns its path."""
    path = reports / "index.md"
    # The lock makes the later of two runs that end at once list both.
    with store.locked(reports):
        store.save_text(path, index(reports))
    return path
