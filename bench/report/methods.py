"""The section of a report that sets methods against each other, from `verdicts.methods`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.formatting import NONE, escape, estimated, table
from bench.verdicts.methods import MethodComparison, Unmatched

HEADER = ("Family", "Scheme", "Kernel", "Method", "Against", "Number", "Trainings")
COLUMNS = (*HEADER, "Difference, 95% interval", "p", "Loses less")


def lines(
    comparisons: Sequence[MethodComparison],
    apart: Sequence[Unmatched] = (),
    ignored: Sequence[str] = (),
) -> list[str]:
    """A line for each comparison, and what was left out; nothing where there is neither."""
    said = [*_left_out(apart), *_ignored(ignored)]
    if not comparisons:
        return said
    body = []
    several = any(comparison.trainings > 1 for comparison in comparisons)
    for comparison in comparisons:
        p = "below 0.001" if comparison.adjusted < 0.001 else f"{comparison.adjusted:.3f}"
        pair = (comparison.family, comparison.scheme, comparison.backend, comparison.method)
        names = (*pair, comparison.against, comparison.metric, str(comparison.trainings))
        verdict = escape(comparison.better) or f"not told apart {NONE}"
        if comparison.better and several and comparison.trainings == 1:
            verdict += ", of these weights"
        body.append([*map(escape, names), estimated(comparison.estimate, 2), p, verdict])
    legend = (
        "Difference of differences: what quantization changes for the method less what it changes "
        "for the other, on the same noise, paired image by image; p after Holm over all lines. "
        "With one training each it speaks of these weights, not of the methods."
    )
    return [*table(COLUMNS, body, left=6), "", legend, *(["", *said] if said else [])]


def _left_out(apart: Sequence[Unmatched]) -> list[str]:
    """One sentence with the methods that are left out because their N differs."""
    if not apart:
        return []
    texts = [
        f"{pair.method} (N = {_counts(pair.images)}) against {pair.against} "
        f"(N = {_counts(pair.others)}), {pair.family} {pair.scheme} {pair.backend}"
        for pair in apart
    ]
    return [f"**Left out, as cells of different N do not compare:** {escape('; '.join(texts))}."]


def _ignored(names: Sequence[str]) -> list[str]:
    """One sentence with the checkpoints left out: an earlier one has the same method and seed."""
    if not names:
        return []
    reason = "an earlier checkpoint has the same method and training seed"
    return [f"**Left out, as {reason}:** {escape(', '.join(names))}."]


def _counts(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))
