"""All verdicts of a run at once: the answer in a heading, what words mean, the grid of cells.

The page, the Markdown report and the terminal show these in their own ways.

A word stands for its own cell: it follows the 95% interval that is printed beside the change, so
that both say the same. Of many cells without harm one in forty would be called harmed by chance;
`together` says how many stay so when all are judged at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.core import estimates
from bench.report.verdict import HARMED, UNKNOWN, Judged, Verdict
from bench.verdicts import decisions

GUIDE = (
    "{metric} is the {kind} distance between the images and real ones: lower is better. Harmed: "
    "it grew beyond its 95% interval{floor}. Not harmed: the interval ends below the least loss "
    "that matters, 3% of the distance in full precision. "
    "Not decided: more images would tell. How far images moved is no harm by itself."
)
# From so many cells on they are shown as a grid.
MANY = 8
# More verdicts than these are counted in the heading, not named.
MOST_NAMED = 3
# A judged cell and the verdict that it belongs to, None where there is none.
Cells = list[tuple[Judged, Verdict] | None]


def answer(found: Sequence[Verdict]) -> str:
    """Who is harmed, for all schemes at once, as the heading of a report."""
    if not found:
        return "No quantized cell was measured"
    if all(verdict.word == UNKNOWN for verdict in found):
        return "Whether quantization harms was not measured"
    if len(found) > MOST_NAMED:
        harmful = [verdict for verdict in found if verdict.word == HARMED]
        if not harmful:
            return f"None of {len(found)} schemes is seen to harm"
        return f"{len(harmful)} of {len(found)} schemes harm at least one of the {found[0].noun}"
    told = {verdict.name: verdict.count() for verdict in found}
    if len(found) > 1 and len(set(told.values())) == 1:
        return f"{', '.join([*told][:-1])} and {[*told][-1]}: {told.popitem()[1]}"
    return "; ".join(f"{name}: {count}" for name, count in told.items())


def guide(found: Sequence[Verdict]) -> str:
    """What the words mean; "" where nothing was judged."""
    judged = next((verdict for verdict in found if verdict.metric), None)
    if judged is None:
        return ""
    kind = "kernel" if judged.group.metric == "kd_change" else "Fréchet"
    floor = " and beyond what the noise floor does" if any(v.has_floor for v in found) else ""
    told = GUIDE.format(metric=judged.metric, kind=kind, floor=floor)
    return f"{told} {at_once}" if (at_once := together(found)) else told


def together(found: Sequence[Verdict]) -> str:
    """How many of the harmed cells stay harmed when all cells of a run are judged at once (Holm
    1979, 5% for any false one among them); "" where none of several is harmed."""
    cells = [(j, c) for verdict in found for j in verdict.judged if (c := j.change)]
    pairs = [(j, estimates.from_interval(c.value, c.low, c.high, c.n)) for j, c in cells]
    known = [(judged, estimate) for judged, estimate in pairs if estimate]
    harmed = [judged for judged, _ in known if judged.word == HARMED]
    if len(known) < 2 or not harmed:
        return ""
    adjusted = decisions.holm([decisions.two_sided(estimate) for _, estimate in known])
    stay = sum(
        judged.word == HARMED and p < decisions.ALPHA
        for (judged, _), p in zip(known, adjusted, strict=True)
    )
    return (
        "Each word follows the 95% interval of its own cell; when all "
        f"{len(known)} cells are judged at once (Holm), "
        f"{stay} of {len(harmed)} harmed ones remain."
    )


def grid(found: Sequence[Verdict]) -> tuple[str, list[str], dict[str, Cells]] | None:
    """All cells as a grid: what its sides are, the names across, and the cells of each side.

    Checkpoints run down the page, or schemes where there are more of them. None for few cells.
    """
    names = list(dict.fromkeys(judged.name for verdict in found for judged in verdict.judged))
    if sum(len(verdict.changes) for verdict in found) < MANY or len(names) < 2:
        return None
    known = {(j.name, v.name): (j, v) for v in found for j in v.judged if j.change}
    columns = [verdict.name for verdict in found]
    if len(columns) <= len(names):
        return "Checkpoint", columns, {n: [known.get((n, c)) for c in columns] for n in names}
    return "Scheme", names, {c: [known.get((n, c)) for n in names] for c in columns}
