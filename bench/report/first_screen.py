"""The first screen of the page: for each scheme a mark, the verdict in words, and a strip of dots.

A strip has a dot for each checkpoint, from the least to the largest change of the distance to real
images, with its 95% interval; all strips of a page have one scale, so that schemes compare by eye.
It is drawn by HTML elements in percent of their box, which fits any screen.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.printable import plain
from bench.core.record import Run
from bench.report.formatting import measured, number
from bench.report.overview import answer, guide
from bench.report.ranking import Group
from bench.report.rows import CellRow, interval
from bench.report.sample_sizes import draws, span
from bench.report.verdict import (
    BETTER,
    FINE,
    HARMED,
    MARKS,
    OPEN,
    UNKNOWN,
    Verdict,
)

# Classes of the page's style sheet.
CLASSES = {HARMED: "bad", OPEN: "open", FINE: "good", BETTER: "good", UNKNOWN: "none"}
# Height of a strip and of each dot in it, in pixels.
STRIP, DOT, MOST = 26, 5, 104
# So many verdicts have room for an axis each; more of them are drawn closer.
ROOMY = 4


@dataclass(frozen=True)
class Scale:
    """The axis that all strips share, in the unit of the change."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, 0..100."""
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def ticks(self) -> list[float]:
        """Round values, three to six of them."""
        rough = (self.high - self.low) / 4
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(f * size for f in (1, 2, 5, 10) if f * size >= rough)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


def text(words: str) -> str:
    """Text of unknown content in HTML."""
    return html.escape(plain(words))


def mark(word: str, count: int | None = None) -> str:
    """The mark and the word of a verdict, and of how many; the mark is for the eye alone."""
    told = word if count is None else f"{count} {word}"
    return (
        f'<span class="light {CLASSES[word]}"><span aria-hidden="true">{MARKS[word]}</span> '
        f"{told}</span>"
    )


def first_screen(run: Run, all_rows: Sequence[CellRow], found: Sequence[Verdict]) -> str:
    """The answer as a heading, what was measured in a line, and the verdicts."""
    lines = [
        f"<h1>{text(answer(found))}</h1>",
        f'<p class="quiet">{_measured(run, all_rows, found)}</p>',
    ]
    scales = _scales(found)
    is_dense = len(found) > ROOMY
    lines.append(f'<ul class="verdicts{" dense" if is_dense else ""}">')
    for k, verdict in enumerate(found):
        has_axis = not is_dense or k == len(found) - 1
        lines.append(_card(verdict, scales.get(verdict.metric), is_dense, has_axis))
    lines.append("</ul>")
    if bad := [row for row in all_rows if not row.ok]:
        cells = "cell" if len(bad) == 1 else "cells"
        lines.append(
            f'<p>{mark(UNKNOWN)}: <a href="#refused-and-failed">{len(bad)} {cells}</a>.</p>'
        )
    if explained := guide(found):
        lines.append(f'<p class="quiet">{text(explained)}</p>')
    return "\n".join(lines)


def _measured(run: Run, all_rows: Sequence[CellRow], found: Sequence[Verdict]) -> str:
    told = [f"run {run.id}"]
    for draw, counts in draws(all_rows) if not any(r.record.elsewhere for r in all_rows) else ():
        told.append(
            f"{span(counts)} images per cell, {draw.sampler.upper()} in {draw.steps} steps, "
            f"seed {draw.seed}"
        )
    names = {row.checkpoint for row in all_rows}
    told.append(f"{len(names)} checkpoints" if len(names) > 1 else next(iter(names), ""))
    told += [] if any(verdict.has_floor for verdict in found) else ["no noise floor measured"]
    return text(" · ".join(told))


def _scales(found: Sequence[Verdict]) -> dict[str, Scale]:
    """The axis of each distance."""
    scales = {}
    for metric in {verdict.metric for verdict in found}:
        changes = [c for verdict in found if verdict.metric == metric for c in verdict.changes]
        values = [v for c in changes for v in (c.value, *(interval(c) or ())) if abs(v) < 1e100]
        low, high = min([0.0, *values]), max([0.0, *values])
        room = 0.03 * (high - low) or 1.0
        scales[metric] = Scale(low - room, high + room)
    return scales


def _card(verdict: Verdict, scale: Scale | None, is_dense: bool, has_axis: bool) -> str:
    ends = verdict.ends()
    strip = _strip(verdict, scale, has_axis) if scale and verdict.changes else ""
    kernel = _kernel(verdict.group)
    return (
        f'<li class="card {CLASSES[verdict.word]}"><div class="said">'
        f"<h2>{text(verdict.name).replace('+', '+<wbr>')}</h2> "
        f"<p>{_tally(verdict)}</p></div>"
        f'<div class="told"><p><strong>{text(verdict.amount(is_dense))}</strong></p>'
        f'<p class="more">{text(ends)}</p><p>{text(verdict.moved())}'
        f'<span class="more">; {text(kernel)}</span></p></div>{strip}</li>'
    )


def _tally(verdict: Verdict) -> str:
    """The words of a verdict, each with its mark and how many rows have it."""
    total, counts = len(verdict.judged), verdict.counts
    if total == 1:
        return f"{mark(verdict.word)} {text(verdict.judged[0].name)}"
    if len(counts) == 1:
        return f"{mark(verdict.word)} {text(f'all {total} {verdict.noun}')}"
    told = [mark(word, count) for word, count in counts.items()]
    return f"{', '.join(told)} of {text(f'{total} {verdict.noun}')}"


def _kernel(group: Group) -> str:
    if any(row.record.elsewhere for row in group.rows):
        return "coverage unknown"
    return "simulated" if group.kernel == "simulated" else f"{group.kernel} kernels"


def _strip(verdict: Verdict, scale: Scale, has_axis: bool) -> str:
    """The dots of a verdict; what they show stands in the words beside them, too."""
    known = [judged for judged in verdict.judged if judged.change]
    height = min(MOST, max(STRIP, DOT * len(known) + 12))
    parts = []
    for tick in scale.ticks():
        zero = " zero" if tick == 0 else ""
        parts.append(f'<i class="tick{zero}" style="left:{scale.place(tick):.2f}%"></i>')
    for k, judged in enumerate(known):
        change = judged.change
        assert change is not None
        top = 100 * (k + 0.5) / len(known)
        if ends := interval(change):
            left, right = map(scale.place, ends)
            style = f"top:{top:.1f}%;left:{left:.2f}%;width:{right - left:.2f}%"
            parts.append(f'<i class="bar {CLASSES[judged.word]}" style="{style}"></i>')
        told = f"{judged.name}: {measured(change, verdict.digits, signed=True)}, {judged.word}"
        style = f"top:{top:.1f}%;left:{scale.place(change.value):.2f}%"
        parts.append(
            f'<i class="dot {CLASSES[judged.word]}" style="{style}" title="{text(told)}"></i>'
        )
    label = text(f"{verdict.metric} of each of {len(known)}: {verdict.amount()}")
    dots = f'<div class="dots" style="height:{height}px">{"".join(parts)}</div>'
    axis = _axis(verdict.metric, scale) if has_axis else ""
    return f'<div class="strip" role="img" aria-label="{label}">{dots}{axis}</div>'


def _axis(metric: str, scale: Scale) -> str:
    ticks = scale.ticks()
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]))) if len(ticks) > 1 else 2
    labels = "".join(
        f'<span style="left:{scale.place(tick):.2f}%">{number(tick, digits, signed=True)}</span>'
        for tick in ticks
    )
    return f'<div class="axis">{labels}</div><div class="axis-name">change of {text(metric)}</div>'
