"""The methods of one scheme and kernel in words: who is harmed least, and by how much.

A change of a distance is called a loss or a gain only where its interval excludes 0; where there
is no interval the text says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.core.distances import frechet_title, kernel_title
from bench.core.record import Measurement
from bench.report import floors
from bench.report.formatting import decimal_places, escape, measured, number, percent
from bench.report.ranking import Entry, Group
from bench.report.rows import RANKING, CellRow, interval, interval_verdict
from bench.system.influences import Influences
from bench.verdicts.findings import EXACT

NAMES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "fd_twin": "FD to the full-precision samples",
}
KERNELS = {
    "none": "float arithmetic",
    "simulated": "simulated (quantized values in float arithmetic)",
    "int8": "integer kernels (int8)",
}


def lines_of(
    group: Group, names: dict[str, str], words: Sequence[str], influences: Influences
) -> list[str]:
    """A heading, how far images moved and who is harmed least, and a line for each entry."""
    decimals = {
        "fd": decimal_places([row.fd for row in group.rows]),
        "kd": decimal_places([row.kd_change for row in group.rows]),
        "moved": decimal_places([_moved(row) for row in group.rows]),
    }
    lines = [
        f"### {escape(', '.join([group.scheme.label, *words]))}",
        "",
        *([told, ""] if (told := floors.sentence(group, influences)) else []),
        f"{_execution(group)} {_lead(group, names)}",
        "",
    ]
    for entry in group.entries:
        rank = _rank(entry, len(group.ranked))
        parts = _parts(entry, group, decimals)
        parts += [floors.moved(row, influences) for row in entry.rows[:1] if len(entry.rows) == 1]
        text = "; ".join(part for part in parts if part)
        who = f"**{escape(_title(entry, names))}**"
        if len(entry.rows) > 1:
            who += f" (mean of {len(entry.rows)} trainings)"
        lines.append(f"- {', '.join(filter(None, (who, rank)))}: {text or 'nothing measured'}.")
    return [*lines, *_doubts(group)]


def _execution(group: Group) -> str:
    """What executed, and which share of the network was quantized."""
    if any(row.record.elsewhere for row in group.rows):
        return "Coverage unknown: bench did not make these images."
    kernel = KERNELS.get(group.kernel, f"{group.kernel} kernels")
    shares = sorted({percent(row.share) for row in group.rows}, key=lambda text: float(text[:-1]))
    coverage = shares[0] if len(shares) == 1 else f"{shares[0]} to {shares[-1]}"
    return f"Execution: {escape(kernel)}; {coverage} of the multiply-accumulates quantized."


def _title(entry: Entry, names: Mapping[str, str]) -> str:
    """The title of an entry: its checkpoint, or the method of several trainings."""
    row = entry.rows[0]
    return names[row.checkpoint] if len(entry.rows) == 1 else row.method


def _rank(entry: Entry, count: int) -> str:
    if entry.best is None or count < 2:
        return ""
    if entry.best == entry.worst:
        return f"rank {entry.best}"
    return f"shares ranks {entry.best} to {entry.worst}"


def _parts(entry: Entry, group: Group, decimals: Mapping[str, int]) -> list[str]:
    """The parts of an entry's line: harm, how far it moved, and what is identical to it."""
    row = entry.rows[0]
    if len(entry.rows) == 1:
        parts = changes_in_words(row, decimals["fd"], decimals["kd"])
        parts.append(_distance(row, decimals["moved"]))
    else:
        parts = _means(entry, group, decimals)
    for name, others in entry.same.items():
        parts.append(
            f"{escape(', '.join(others))} identical to {escape(name)} (the same weights or the "
            f"same numbers), so not ranked against it"
        )
    return parts


def _means(entry: Entry, group: Group, decimals: Mapping[str, int]) -> list[str]:
    """The numbers of several trainings: the mean and each."""
    parts = []
    used = [entry.rows[0].extractor]
    fields = [
        ("kd_change", kernel_title(used), decimals["kd"], True, ""),
        ("fd_change", frechet_title(used), decimals["fd"], True, ""),
        ("psnr", "moved by PSNR", decimals["moved"], False, " dB"),
    ]
    for name, title, digits, signed, unit in fields:
        measurements = [m for row in entry.rows if (m := getattr(row, name)) is not None]
        if not measurements or not all(math.isfinite(m.value) for m in measurements):
            continue
        mean = sum(m.value for m in measurements) / len(measurements)
        each = ", ".join(number(m.value, digits, signed) for m in measurements)
        text = f"{title} {number(mean, digits, signed)}{unit}"
        if name == group.metric and entry.ends:
            low, high = (number(end, digits, signed) for end in entry.ends)
            text += f" [{low}, {high}]"
        text += f" ({each})"
        if name == group.metric and group.harm:
            text += f", {_judged(entry)}"
        parts.append(text)
    return parts


def _judged(entry: Entry) -> str:
    if entry.ends is None:
        return "no interval yet"
    if entry.ends[0] > 0:
        return "a loss beyond the noise"
    if entry.ends[1] < 0:
        return "an improvement beyond the noise"
    return "the trainings differ too much to tell it from 0"


def _lead(group: Group, names: dict[str, str]) -> str:
    if not group.metric:
        return "Nothing that ranks was measured, so there is no ranking."
    if len(group.entries) == 1:
        return "One method, so there is no ranking."
    what = "harm" if group.harm else f"how far the images moved ({NAMES[group.metric]})"
    ranked = group.ranked
    if len(ranked) < 2:
        return f"In the order of {what}, least first; without intervals it may be noise:"
    first = [_title(e, names) for e in ranked if e.best == 1]
    last = [_title(e, names) for e in ranked if e.worst == len(ranked)]
    if len(first) == len(ranked):
        return f"Ranked by {what}: **all tie**, as their intervals overlap:"
    verb, most = ("is harmed", "most") if group.harm else ("moved", "farthest")
    told = [_end(first, f"{verb} least", "least"), _end(last, f"{verb} {most}", most)]
    return f"Ranked by {what}, least first: {'; '.join(told)}."


def _end(names: Sequence[str], alone: str, shared: str) -> str:
    """The first or the last of a ranking, or all that tie for it."""
    if len(names) == 1:
        return f"**{escape(names[0])} {alone}**"
    return f"**{escape(', '.join(names[:-1]))} and {escape(names[-1])} tie for {shared}**"


def _moved(row: CellRow) -> Measurement | None:
    """How far the images moved, by the first metric that was measured."""
    return next((m for name in RANKING if (m := getattr(row, name)) is not None), None)


def _distance(row: CellRow, decimals: int) -> str:
    measurement = _moved(row)
    if measurement is None:
        return ""
    name = NAMES[next(name for name in RANKING if getattr(row, name) is measurement)]
    if name == "PSNR" and measurement.value >= EXACT:
        few = "infinite" if math.isinf(measurement.value) else f"{measurement.value:g} dB"
        return f"PSNR {few}: identical to full precision"
    text = f"moved by {name} {measured(measurement, decimals, unit=measurement.unit)}"
    return text if interval(measurement) else f"{text}, no interval yet"


def _doubts(group: Group) -> list[str]:
    """A warning where entries without an interval have no rank."""
    bare = [entry for entry in group.entries if entry.best is None]
    if len(group.entries) < 2 or not group.metric or not bare:
        return []
    return ["", "Values with no interval have no rank: noise may reorder them."]


def changes_in_words(row: CellRow, decimals: int, kd_decimals: int) -> list[str]:
    """The changes of FD and KD against full precision, each with its verdict.

    Quantization noise adds to the bias of FD at finite N on one side of the change alone, so
    the verdict (loss or gain) stands with KD, which has no bias, where KD was measured.
    """
    texts = []
    if row.kd_change:
        name = kernel_title([row.extractor])
        texts.append(_change(name, row.kd_change, kd_decimals, "", decides=True))
    if row.fd_change:
        ends = ""
        if row.fd and row.reference and row.reference.fd:
            # The row of the reference may have another N, so its FD is not taken.
            before, after = row.fd.value - row.fd_change.value, row.fd.value
            ends = f" (from {number(before, decimals)} to {number(after, decimals)})"
        name = frechet_title([row.extractor])
        texts.append(_change(name, row.fd_change, decimals, ends, decides=not row.kd_change))
    return texts


def _change(name: str, change: Measurement, decimals: int, ends: str, decides: bool) -> str:
    kind = interval_verdict(change)
    if kind == "undefined":
        return f"change of {name} undefined"
    text = f"{name} {measured(change, decimals, signed=True)}{ends}"
    if kind == "unseen":
        return text
    if kind == "unclear":
        return f"{text}, not distinguishable from 0"
    if kind == "open":
        lower = change.value < 0 if change.better == "lower" else change.value > 0
        return f"{text}, no interval yet" + (", so not an improvement" if lower else "")
    if not decides:
        return text
    words = {"worse": "a loss beyond the noise", "better": "an improvement beyond the noise"}
    return f"{text}, {words[kind]}"
