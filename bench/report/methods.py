"""The section of a report that sets methods against each other, from `contrasts`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contrasts import Contrast
from bench.report.numbers import NONE, escape, number, table

HEADER = ("Family", "Scheme", "Kernel", "Method", "Against", "Number", "Trainings")
COLUMNS = (*HEADER, "Difference, 95% interval", "p", "Loses less")


def lines(found: Sequence[Contrast]) -> list[str]:
    """A line for each contrast; nothing where there is none."""
    if not found:
        return []
    body = []
    for contrast in found:
        low, high = contrast.estimate.interval()
        ends = (contrast.estimate.value, low, high)
        value, lower, upper = (number(end, 2, signed=True) for end in ends)
        p = "below 0.001" if contrast.adjusted < 0.001 else f"{contrast.adjusted:.3f}"
        names = (contrast.family, contrast.scheme, contrast.backend, contrast.method)
        names = (*names, contrast.against, contrast.metric, str(contrast.trainings))
        verdict = escape(contrast.better) or f"not told apart {NONE}"
        body.append([*map(escape, names), f"{value} [{lower}, {upper}]", p, verdict])
    legend = (
        "Difference of differences: what quantization changes for the method less what it changes "
        "for the other, on the same noise, paired image by image; p after Holm over all lines. "
        "With one training each it speaks of these weights, not of the methods."
    )
    return [*table(COLUMNS, body, left=6), "", legend]
