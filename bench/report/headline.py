"""The head of a report: what was sampled, how to read it, and the ranking of the methods.

`ranking_words` has the lines of each group of methods that are ranked.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.distances import frechet_title, kernel_title
from bench.core.scheme import Scheme
from bench.report import elsewhere
from bench.report.formatting import escape
from bench.report.ranking import Group, groups
from bench.report.ranking_words import lines_of
from bench.report.rows import CellRow, labels, schemes
from bench.report.sample_sizes import draws, span
from bench.report.verdict import titles
from bench.system.influences import Influences


def summary(all_rows: Sequence[CellRow]) -> list[str]:
    """One paragraph and the schemes in words."""
    if not all_rows:
        return ["The run holds no cells."]
    if elsewhere.is_elsewhere(all_rows):
        return [elsewhere.summary(all_rows)]
    names = list(dict.fromkeys(row.checkpoint for row in all_rows))
    quantized = [scheme for scheme in schemes(all_rows) if not scheme.is_float]
    noise = (
        "in full precision and under each scheme below, from the same noise, so that every "
        "quantized image has a full-precision twin"
        if quantized
        else "in full precision; nothing was quantized"
    )
    sampled = "; ".join(
        f"{span(counts)} images per cell with {escape(draw.sampler.upper())} in {draw.steps} "
        f"steps, seed {draw.seed}"
        for draw, counts in draws(all_rows)
    )
    plural = "checkpoint" if len(names) == 1 else "checkpoints"
    text = (
        f"{len(names)} {plural} ({escape(', '.join(names))}) sampled {noise}: {sampled}. "
        f"{_outcome(all_rows)}"
    )
    lines = [
        f"- **{escape(scheme.label)}**{_whose(all_rows, scheme)}: {escape(scheme.explain())}"
        for scheme in quantized
    ]
    return [text, *(["", *lines] if lines else [])]


def _whose(all_rows: Sequence[CellRow], scheme: Scheme) -> str:
    """The checkpoints of a scheme, where its label stands for other schemes too."""
    alike = {row.scheme for row in all_rows if row.scheme.label == scheme.label}
    names = dict.fromkeys(row.checkpoint for row in all_rows if row.scheme == scheme)
    return f" ({escape(', '.join(names))})" if len(alike) > 1 else ""


def headline(all_rows: Sequence[CellRow], influences: Influences | None = None) -> list[str]:
    """How to read it, then a ranking of the methods for each scheme, kernel and family."""
    ranked = groups(all_rows, influences)
    if not ranked:
        return ["No quantized cell was measured."]
    lines = [_guide(all_rows, ranked)]
    for group, words in zip(ranked, titles(ranked), strict=True):
        lines += ["", *lines_of(group, labels(all_rows), words[1:], influences or {})]
    return lines


def _guide(all_rows: Sequence[CellRow], ranked: Sequence[Group]) -> str:
    """How the ranking is to be read, for somebody who sees such a report for the first time."""
    used = [row.extractor for row in all_rows]
    harmed = {group.metric for group in ranked if group.harm}
    texts = []
    if harmed:
        kd = "kd_change" in harmed
        name = kernel_title(used) if kd else frechet_title(used)
        kind = "kernel" if kd else "Fréchet"
        same = "the same checkpoint in full precision on the same noise"
        texts.append(
            f"*Harm* is the change of {name}, the {kind} distance to real images, against "
            f"{elsewhere.base(all_rows, same)}: above 0 is worse."
        )
    full = elsewhere.worded(all_rows, "full precision", "the reference")
    texts.append(f"PSNR says how far the images *moved* from {full}, which is no harm by itself.")
    texts.append(
        "Brackets are 95% intervals. Where they overlap, the order is not settled: such ranks are "
        "shared."
    )
    if any(len(entry.rows) > 1 for group in ranked for entry in group.entries):
        texts.append(
            "Trainings of one method that differ in their seed count once, by their mean, with "
            "how much they differ in the interval."
        )
    return " ".join(texts)


def _outcome(all_rows: Sequence[CellRow]) -> str:
    statuses = [row.status for row in all_rows]
    counts = {status: statuses.count(status) for status in ("refused", "failed")}
    missing = [f"{count} {status}" for status, count in counts.items() if count]
    done = len(all_rows) - sum(counts.values())
    if not missing:
        return f"All {len(all_rows)} cells were measured."
    return f"{done} of {len(all_rows)} cells were measured, {' and '.join(missing)}."
