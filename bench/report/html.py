"""A run as one self-contained HTML page: the answer on the first screen, a heat map and a table,
pairs of images that flip, then all details folded.

The words are those of the Markdown report. Everything is in the one file, also the images and the
script, so that it can be mailed, and kept as an artifact of a CI job. `page.html`, `page.css` and
`page.js` are the frame.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from bench.core.printable import plain
from bench.core.record import Run
from bench.report import cells, elsewhere
from bench.report.figures.captions import captions
from bench.report.first_screen import first_screen, text
from bench.report.markdown import sections
from bench.report.pairs import Pairs, pairs
from bench.report.rows import CellRow, labels, rows
from bench.report.verdict import Verdict, verdicts
from bench.system import influences, store

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

FRAME, STYLE, SCRIPT = (Path(__file__).parent / f"page.{kind}" for kind in ("html", "css", "js"))
# What stands on the page in a form of its own.
SHOWN = ("In one look", "Figures")


def page(run: Run, folder: Path) -> str:
    """The page of a run whose figures and samples are in `folder`."""
    from markdown_it import MarkdownIt

    # Raw HTML stays text: names of checkpoints and errors are of unknown content.
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    all_rows, terms = rows(run), influences.load(folder / influences.NAME)
    found = verdicts(all_rows, terms)
    folded = [
        _folded(heading, _rendered(reader, lines))
        for heading, lines in sections(run, folder)
        if heading not in SHOWN
    ]
    if pictures := _figures(all_rows, folder):
        folded.insert(1, _folded("Figures", pictures))
    heat, table = cells.heat_map(found), cells.table(found) if found else ""
    if heat:
        folded.insert(0, _folded("Every quantized cell", table))
    body = [
        f'<div class="first">{first_screen(run, all_rows, found)}</div>',
        _section("Who is harmed under what", heat),
        "" if heat else _section("Every quantized cell", table),
        _flips(all_rows, pairs(all_rows, folder / "samples", terms), _most(found)),
        _section("Details", "\n".join(folded)),
    ]
    name = html.escape(plain(f"Quantization robustness, run {run.id}"))
    frame = Template(FRAME.read_text(encoding="utf-8"))
    parts = {"style": STYLE.read_text(encoding="utf-8"), "script": SCRIPT.read_text("utf-8")}
    return frame.substitute(title=name, body="\n".join(part for part in body if part), **parts)


def write(run: Run, folder: Path) -> Path:
    """Write `folder`/report.html and return its path."""
    path = folder / "report.html"
    store.save_text(path, page(run, folder))
    return path


def _section(heading: str, inner: str) -> str:
    return f"<section><h2>{text(heading)}</h2>\n{inner}</section>" if inner else ""


def _folded(heading: str, inner: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
    return f'<details id="{name}"><summary><h3>{text(heading)}</h3></summary>\n{inner}</details>'


def _rendered(reader: MarkdownIt, lines: Sequence[str]) -> str:
    shown: str = reader.render("\n".join(lines))
    shown = re.sub(r"<(/?)h3>", r"<\1h4>", shown)
    opened = (
        '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table class="sort">'
    )
    return shown.replace("<table>", opened).replace("</table>", "</table></div>")


def _figures(all_rows: Sequence[CellRow], folder: Path) -> str:
    lines = []
    for name, caption in captions(all_rows, folder).items():
        data = base64.b64encode((folder / "figures" / name).read_bytes()).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{text(caption)}">'
        lines.append(f"<figure>{image}<figcaption>{text(caption)}</figcaption></figure>")
    return "\n".join(lines)


def _most(found: Sequence[Verdict]) -> CellRow | None:
    """The row that is harmed most."""
    known = [judged for verdict in found for judged in verdict.judged if judged.change]
    return max(known, key=lambda j: j.change.value if j.change else 0.0).row if known else None


def _flips(all_rows: Sequence[CellRow], made: Sequence[Pairs], first: CellRow | None) -> str:
    """A choice of cells and their pairs, each a button that flips; nothing without samples.

    The cell of the row `first` is shown at first."""
    if not made:
        return ""
    names, options = labels(all_rows), []
    known = []
    for k, pair in enumerate(made):
        label = f"{names[pair.row.checkpoint]}, {pair.row.scheme.label}, {pair.row.kernel}"
        selected = " selected" if first and pair.row.record is first.record else ""
        options.append(f'<option value="{k}"{selected}>{text(label)}</option>')
        told = [plain(caption) for caption in pair.captions]
        known.append({"data": pair.data, "size": pair.size, "captions": told})
    full = elsewhere.worded(all_rows, "full precision", "reference")
    quantized = elsewhere.worded(all_rows, "quantized", "test")
    # "<" would let a name close the script element.
    data = json.dumps({"names": [full, quantized], "pairs": known}).replace("<", "\\u003c")
    same = elsewhere.worded(
        all_rows,
        "Each pair has the same noise. Hover, tap or press Space to see it in full precision.",
        "Each pair has the same name. Hover, tap or press Space to see the reference.",
    )
    inner = (
        f'<p class="screen">{same}</p><p class="control"><label for="choice">Cell</label> '
        f'<select id="choice">{"".join(options)}</select> '
        f'<button type="button" id="all" aria-pressed="false">Flip all</button></p>'
        f'<div id="flips" class="flips"></div>'
        f'<script id="pictures" type="application/json">{data}</script>'
    )
    heading = elsewhere.worded(
        all_rows, "Images: full precision and quantized", "Images: reference and test"
    )
    return _section(heading, inner)
