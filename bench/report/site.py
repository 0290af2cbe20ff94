"""A leaderboard of many runs as static files: one page, and the report of each run beside it.

The page has a table of all quantized cells (`bench.report.leaderboard`), which sorts and filters,
a table of means by method of training, and the protocols in words. Nothing is loaded from
elsewhere, so that it works from GitHub Pages, any web server, or a disk.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from bench.core.record import Run
from bench.report import html, leaderboard
from bench.report.first_screen import mark, text
from bench.report.formatting import NONE, decimal_places, measured, number, percent
from bench.report.leaderboard import FLAGS, Line
from bench.report.rows import METHODS
from bench.report.verdict import UNKNOWN
from bench.system import influences, store

TITLE = "Quantized diffusion models, measured"
MEANING = {
    leaderboard.OTHER: "numbers do not compare with those of protocol A",
    leaderboard.LOW: "less than 90% of the multiply-accumulates were quantized",
    leaderboard.UNCOVERED: "bench did not execute the network",
    leaderboard.APART: "integer kernels differ from the simulation: below 20 dB",
    leaderboard.INERT: "images equal those of full precision bit for bit",
    leaderboard.OPEN_ENDED: "a change without an error",
    leaderboard.UNMEASURED: "the cell was refused, or failed",
}
HEADS = (
    *("Checkpoint", "Scheme", "Executed by", "Verdict", "Change of KD", "Change of FD"),
    *("PSNR, dB", "Protocol", "Run", "Flags"),
)
# Columns of numbers, aligned to the right.
NUMBERS = range(4, 7)


def write(runs: Sequence[tuple[Path, Run]], target: Path) -> Path:
    """Write the site to a folder and return the path of its page.

    Args:
        runs: folder and run of each.
        target: the folder, made where it is missing; files of the same names are replaced.

    Raises:
        InputError: the disk does not take it.
    """
    for folder, run in runs:
        store.save_text(target / _report_of(run.id), html.page(run, folder))
    path = target / "index.html"
    terms = [(run, influences.load(folder / influences.NAME)) for folder, run in runs]
    store.save_text(path, page(leaderboard.lines(terms)))
    # Without it GitHub Pages would run Jekyll over the files.
    store.save_text(target / ".nojekyll", "")
    return path


def page(found: Sequence[Line]) -> str:
    """The page of all lines."""
    datasets = list(dict.fromkeys(line.dataset for line in found))
    runs = {line.run for line in found}
    flagged = sum(bool(line.flags) for line in found)
    told = (
        f"{len(found)} quantized cells of {len(runs)} runs on {', '.join(datasets) or 'no data'}. "
        f"{flagged} are flagged: read why before you compare them."
    )
    body = [
        f"<h1>{TITLE}</h1>",
        f'<p class="quiet">{text(told)}</p>',
        '<p class="quiet">KD and FD are distances between generated and real images: a change '
        "above 0 is worse than the same checkpoint in full precision on the same noise. Brackets "
        "are 95% intervals over images, and say nothing about another training. PSNR says how far "
        "images moved, which is no harm by itself.</p>",
        _section("By method of training", _means(found)),
        _section("Every quantized cell", _table(found)),
        _section("Protocols", _protocols(found)),
        _section("Flags", _flags(found)),
    ]
    frame = Template(html.FRAME.read_text(encoding="utf-8"))
    parts = {"style": html.STYLE.read_text(encoding="utf-8")}
    parts["script"] = html.SCRIPT.read_text(encoding="utf-8")
    return frame.substitute(title=TITLE, body="\n".join(part for part in body if part), **parts)


def _report_of(run: str) -> str:
    """Where the report of a run lies: a name of plain characters, whatever its id is."""
    name = re.sub(r"[^A-Za-z0-9+-]", "_", run)[:80]
    if name != run:
        name += f"-{hashlib.sha256(run.encode(errors='backslashreplace')).hexdigest()[:10]}"
    return f"runs/{name}.html"


def _section(heading: str, inner: str) -> str:
    return f"<section><h2>{heading}</h2>\n{inner}</section>" if inner else ""


def _scrolled(inner: str, label: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{inner}</div>'


def _table(found: Sequence[Line]) -> str:
    """A row for each line, with its flags."""
    letters = leaderboard.protocols(found)
    kd = decimal_places([line.row.kd_change for line in found])
    fd = decimal_places([line.row.fd_change for line in found])
    psnr = decimal_places([line.row.psnr for line in found])
    body = []
    for line in found:
        row = line.row
        more = f" (newest of {line.times})" if line.times > 1 else ""
        executed = f"{row.backend}, {percent(row.share)}" if row.ok else row.status
        cells = [
            f'<th scope="row">{text(row.checkpoint)}</th>',
            *(f"<td>{text(told)}</td>" for told in (row.scheme.label, executed)),
            f"<td>{mark(line.word if row.ok else UNKNOWN)}</td>",
            *(
                f'<td class="number">{text(told)}</td>'
                for told in (
                    measured(row.kd_change, kd, signed=True),
                    measured(row.fd_change, fd, signed=True),
                    measured(row.psnr, psnr),
                )
            ),
            f"<td>{letters[line.dataset].get(line.protocol, NONE)}</td>",
            f'<td><a href="{_report_of(line.run)}">{text(line.run)}</a>{more}</td>',
            f"<td>{text(', '.join(line.flags))}</td>",
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    top = "".join(
        f'<th scope="col"{" class=numbers" if k in NUMBERS else ""}>{head}</th>'
        for k, head in enumerate(HEADS)
    )
    control = (
        '<p class="control"><label for="filter">Show rows that contain</label> '
        '<input id="filter" type="search" autocomplete="off" placeholder="w4a8 int8"> '
        '<output id="count" for="filter"></output></p>'
    )
    return control + _scrolled(
        f'<table id="cells" class="sort"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        "All quantized cells",
    )


def _means(found: Sequence[Line]) -> str:
    """Schemes by methods of training: means of the unflagged lines, and of how many."""
    table = leaderboard.changes(found)
    if not table:
        return ""
    trained = {method for by_method in table.values() for method in by_method}
    methods = sorted(trained, key=lambda m: (METHODS.index(m) if m in METHODS else 99, m))
    body = []
    for (family, scheme, backend), by_method in table.items():
        cells = []
        for method in methods:
            values = by_method.get(method, [])
            told = number(sum(values) / len(values), 1, signed=True) if values else NONE
            cells.append(f"<td>{told}{f' ({len(values)})' if values else ''}</td>")
        side = f'<th scope="row">{text(f"{scheme}, {backend}")}</th><td>{text(family)}</td>'
        body.append(f"<tr>{side}{''.join(cells)}</tr>")
    heads = ("Scheme, executed by", "Family", *methods)
    top = "".join(f'<th scope="col">{text(head)}</th>' for head in heads)
    told = (
        "Mean change of KD over checkpoints, and of how many; above 0 is worse. Lines without a "
        "flag, so all of protocol A. Means of different checkpoints do not rank methods by "
        "themselves: look at the spread in the table below."
    )
    return f'<p class="quiet">{told}</p>' + _scrolled(
        f'<table class="heat sort"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        "Means by method of training",
    )


def _protocols(found: Sequence[Line]) -> str:
    parts = []
    for dataset, letters in leaderboard.protocols(found).items():
        main = next(iter(letters), ())
        for protocol, letter in letters.items():
            told = leaderboard.differences(protocol, main)
            if protocol == main:
                told = ", ".join(f"{name} {value}" for name, value in protocol)
            parts.append(f"<li><strong>{letter}</strong>, {text(dataset)}: {text(told)}</li>")
    told = "A is that of most cells of a data set; of the others what differs is told."
    return f"<p>{told}</p><ul>{''.join(parts)}</ul>" if parts else ""


def _flags(found: Sequence[Line]) -> str:
    counts = {flag: sum(flag in line.flags for line in found) for flag in FLAGS}
    parts = [
        f"<li><strong>{flag}</strong> ({count}): {MEANING[flag]}</li>"
        for flag, count in counts.items()
        if count
    ]
    return f"<ul>{''.join(parts)}</ul>" if parts else ""
