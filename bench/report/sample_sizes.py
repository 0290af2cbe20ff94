"""The numbers of images and real images of the cells, and what was known then: a width or a
verdict."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core import distances
from bench.core.cell import Draw, of_any_size
from bench.report.formatting import decimal_places, escape, number, table
from bench.report.rows import CellRow, interval, labels


def draws(all_rows: Sequence[CellRow]) -> list[tuple[Draw, list[int]]]:
    """The draws of the rows with their N in rising order; draws that differ in N alone are one."""
    counts: dict[Draw, set[int]] = {}
    for row in all_rows:
        counts.setdefault(of_any_size(row.cell.draw), set()).add(row.images)
    return [(draw, sorted(these)) for draw, these in counts.items()]


def span(counts: Sequence[int]) -> str:
    """The least and the largest of rising numbers."""
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def precision(all_rows: Sequence[CellRow]) -> list[str]:
    """Paragraphs on the wanted precision: what it was, which cells did not reach it, and what
    different N mean. Nothing where N was given."""
    asked = {(r.metric, r.precision) for row in all_rows if (r := row.record.rounds)}
    if not asked:
        return []
    wanted = ", ".join(f"±{size:g} of {escape(name)}" for name, size in sorted(asked))
    lines = [
        f"Each quantized cell was sampled in rounds until the 95% interval of its change was at "
        f"most {wanted}, full precision as far as its largest cell; a change is that at the N "
        f"of its row.",
    ]
    short = [text for row in all_rows if (text := _short(row))]
    if short:
        lines += ["", f"**The budget of images ended first** at {'; at '.join(short)}."]
    return lines + _uneven(all_rows)


def _uneven(all_rows: Sequence[CellRow]) -> list[str]:
    """What different N mean; nothing where all are equal."""
    if len({row.images for row in all_rows if row.ok}) < 2:
        return []
    return [
        "",
        "Rows of different N do not compare, and FD less its change is full precision at the "
        "row's own N. Cells are ranked against those of equal N only.",
    ]


def verdicts(all_rows: Sequence[CellRow]) -> list[str]:
    """The verdicts of cells that were sampled until they were known: a table, and what it means;
    nothing where there are none."""
    lines, bases, levels, short = [], set(), set(), labels(all_rows)
    for row in all_rows:
        if (decided := row.record.decided) is None:
            continue
        change = row.record.measurement(decided.metric)
        decimals = decimal_places([change])
        ends = "none"
        if decided.low is not None and decided.high is not None:
            low, high = (number(end, decimals, True) for end in (decided.low, decided.high))
            ends = f"[{low}, {high}]"
        names = map(escape, (short[row.checkpoint], row.scheme.label, row.kernel, decided.verdict))
        sizes = number(decided.worsening, decimals, True), ends, number(decided.margin, decimals)
        metric = escape(decided.metric)
        lines.append([*names, metric, *sizes, str(row.images), str(len(decided.counts))])
        bases.add(decided.base)
        levels.add(decided.level)
    if not lines:
        return []
    header = ["Checkpoint", "Scheme", "Kernel", "Verdict", "Metric", "Worse by", "At every look"]
    base = ", ".join(escape(name) for name in sorted(filter(None, bases))) or "full precision"
    level = ", ".join(f"{level:.0%}" for level in sorted(levels))
    legend = (
        f"Each quantized cell was sampled in rounds until it was known whether it is worse than "
        f"{base} by the margin. The interval holds at all looks at once with {level}, so no "
        f"number of looks makes verdicts false more often; undecided: the images ended first."
    )
    return [
        *table([*header, "Margin", "N", "Looks"], lines, left=5),
        "",
        legend,
        *_uneven(all_rows),
    ]


def few_real(all_rows: Sequence[CellRow]) -> list[str]:
    """A warning where cells are held against few real images; nothing where they are enough."""
    told = [
        remark
        for row in all_rows
        if row.ok
        for remark in distances.few_real(
            row.images, row.record.real_images, row.cell.checkpoint.dataset
        )
    ]
    lines: list[str] = []
    for remark in dict.fromkeys(told):
        if lines:
            lines.append("")
        lines.append(f"**Few real images:** {escape(remark)}.")
    return lines


def _short(row: CellRow) -> str:
    """A cell that the budget stopped, with how precisely its change is known."""
    rounds = row.record.rounds
    if not row.ok or rounds is None or rounds.reached:
        return ""
    change = row.record.measurement(rounds.metric)
    ends = interval(change)
    name = escape(f"{row.checkpoint} {row.scheme} {row.backend}")
    if change is None or ends is None:
        return f"{name} (N = {row.images}, no interval)"
    half = number((ends[1] - ends[0]) / 2, decimal_places([change]))
    return f"{name} (N = {row.images}, ±{half})"
