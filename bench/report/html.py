"""A run as one self-contained HTML page: the answer, a sortable table, figures, a slider between
full precision and quantized images, then the protocol and the host.

The words are those of the Markdown report. Everything is in the one file, also the images and the
script, so that it can be mailed, and kept as an artifact of a CI job. `page.html` is the frame.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from bench.core.printable import plain
from bench.core.record import Run
from bench.report import elsewhere
from bench.report.figures import grid
from bench.report.figures.captions import captions
from bench.report.markdown import sections
from bench.report.rows import CellRow, labels, rows
from bench.system import store

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

FRAME = Path(__file__).parent / "page.html"
FIRST = ("What quantization costs", "")
# Side of a square of images in pixels; larger images are shown in smaller numbers.
SIDE = 256


def page(run: Run, folder: Path) -> str:
    """The page of a run whose figures and samples are in `folder`."""
    from markdown_it import MarkdownIt

    # Raw HTML stays text: names of checkpoints and errors are of unknown content.
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    parts = dict(sections(run, folder))
    answer = [_section(reader, heading, parts.pop(heading, [])) for heading in FIRST]
    answer = ['<div class="verdict">', *answer, "</div>"]
    all_rows = rows(run)
    middle = [
        _section(reader, name, parts.pop(name, [])) for name in ("Results", "Refused and failed")
    ]
    parts.pop("Figures", None)
    rest = [_section(reader, heading, lines) for heading, lines in parts.items()]
    pictures = [*_figures(all_rows, folder), *_slider(all_rows, folder / "samples")]
    body = [*answer, *middle, *pictures, *rest]
    name = html.escape(plain(f"Quantization robustness, run {run.id}"))
    frame = Template(FRAME.read_text(encoding="utf-8"))
    return frame.substitute(title=name, body="\n".join(part for part in body if part))


def write(run: Run, folder: Path) -> Path:
    """Write `folder`/report.html and return its path."""
    path = folder / "report.html"
    store.save_text(path, page(run, folder))
    return path


def _section(reader: MarkdownIt, heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    text = reader.render("\n".join(lines))
    text = text.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    text = text.replace("</table>", "</table></div>")
    return f"<section>{f'<h2>{html.escape(heading)}</h2>' if heading else ''}\n{text}</section>"


def _figures(all_rows: Sequence[CellRow], folder: Path) -> list[str]:
    lines = []
    for name, caption in captions(all_rows).items():
        path = folder / "figures" / name
        if path.is_file():
            text = html.escape(caption)
            image = f'<img src="{_data(path.read_bytes())}" alt="{text}">'
            lines.append(f"<figure>{image}<figcaption>{text}</figcaption></figure>")
    return ["<section><h2>Figures</h2>", *lines, "</section>"] if lines else []


def _slider(all_rows: Sequence[CellRow], samples: Path) -> list[str]:
    """A choice of quantized cells and the slider over their images; nothing without samples."""
    squares = {id(row): square for row in all_rows if (square := _square(row, samples))}
    names, options = labels(all_rows), []
    pictures: dict[str, str] = {}
    for row in all_rows:
        reference = row.reference
        if reference is None or not {id(row), id(reference)} <= set(squares):
            continue
        keys = [plain(f"{r.checkpoint} {r.scheme} {r.backend}") for r in (reference, row)]
        for key, member in zip(keys, (reference, row), strict=True):
            pictures[key] = squares[id(member)]
        label = html.escape(plain(f"{names[row.checkpoint]}, {row.scheme}, {row.kernel}"))
        full, quantized = map(html.escape, keys)
        data = f'data-full="{full}" data-quantized="{quantized}"'
        options.append(f"<option {data}>{label}</option>")
    if not options:
        return []
    # "<" would let a name close the script element.
    text = json.dumps(pictures).replace("<", "\\u003c")
    same_noise = "Full precision and quantized, from the same noise"
    heading = elsewhere.worded(all_rows, same_noise, "Reference and test, in pairs")
    full = elsewhere.worded(all_rows, "full precision", "reference")
    quantized = elsewhere.worded(all_rows, "quantized", "test")
    same = elsewhere.worded(all_rows, "in full precision", "of the reference")
    return [
        f"<section><h2>{heading}</h2>",
        f'<label class="control">Cell<select id="choice">{"".join(options)}</select></label>',
        f'<div class="pair"><img alt="The same images {same}"><img alt="">',
        f"<span>{full}</span><span>{quantized}</span></div>",
        f'<label class="control">Left of the slider: {full}',
        '<input id="slider" type="range" min="0" max="100" value="50"></label>',
        f'<script id="pictures" type="application/json">{text}</script></section>',
    ]


def _square(row: CellRow, samples: Path) -> str:
    """The first images of a row as a square, a data URI; "" where there are none."""
    import numpy as np
    from PIL import Image

    images = grid.strip(row, samples)
    if images is None:
        return ""
    count, height, width = images.shape[:3]
    columns = max(1, min(int(count**0.5), SIDE // max(height, width)))
    square = images[: columns**2].reshape(columns, columns, height, width, 3)
    pixels = square.swapaxes(1, 2).reshape(columns * height, columns * width, 3)
    grey = bool((pixels == pixels[..., :1]).all())
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels)).save(
        stream, "PNG", optimize=True
    )
    return _data(stream.getvalue())


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
