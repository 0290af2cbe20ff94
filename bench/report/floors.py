"""The two axes of a report that has a noise floor: how far images moved, and who is harmed.

*Moved* is how far images lie from those of full precision, in units of the floor: a change of the
execution that everyone accepts, as bfloat16. *Harmed* is the change of the distance to real
images, against its interval and against the floor's own change. Neither says the other: noise of
the size of a floor is no harm, and a set can be harmed by images that moved little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.core.record import Measurement
from bench.report import elsewhere
from bench.report.formatting import NONE, decimal_places, escape, measured, number, table
from bench.report.ranking import Group
from bench.report.rows import CellRow, interval, labels
from bench.system.influences import Influences
from bench.verdicts import floors

# The ratio that a sentence names, the first that was measured.
LEADING = ("psnr", "lpips", "ms_ssim", "ssim")
TITLES = {"psnr": "PSNR", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "lpips": "LPIPS"}
HEADS = ("Checkpoint", "Execution", "N")
HARMS = ("KD", "FD", "CLIP score")


def unit(row: CellRow) -> CellRow | None:
    """The row of the floor in whose units a row is told, None without one."""
    records = [floor.record for floor in row.floors]
    chosen = floors.first(records)
    return None if chosen is None else row.floors[records.index(chosen)]


def leading(row: CellRow, influences: Influences) -> tuple[CellRow, floors.Ratio] | None:
    """The floor that a row is held against, and how many times as far as it the row moved."""
    if (floor := unit(row)) is None:
        return None
    known = {ratio.metric: ratio for ratio in floors.ratios(row.record, floor.record, influences)}
    order = [*(name for name in LEADING if name in known), *known]
    return (floor, known[order[0]]) if order else None


def moved(row: CellRow, influences: Influences) -> str:
    """How far a row moved, in words; "" without a floor."""
    if (pair := leading(row, influences)) is None:
        return ""
    floor, ratio = pair
    name = escape(floors.title(floor.record))
    if math.isinf(ratio.value):
        return f"{name} did not move them at all"
    words = f"{times(ratio)} times as far as {name}"
    return f"{words}, less than accepted noise does" if floors.is_nearer(ratio) else words


def times(ratio: floors.Ratio) -> str:
    """A ratio with its interval, in two or three digits."""
    digits = 1 if ratio.value < 10 else 0
    digits = 2 if ratio.value < 2 else digits
    text = number(ratio.value, digits)
    if ratio.low is None or ratio.high is None:
        return text
    return f"{text} [{number(ratio.low, digits)}, {number(ratio.high, digits)}]"


def sentence(group: Group, influences: Influences) -> str:
    """What a person reads first of a scheme: how far it moves images, and whether it harms."""
    pairs = [(row, pair) for row in group.rows if (pair := leading(row, influences))]
    finite = [ratio for _, (_, ratio) in pairs if math.isfinite(ratio.value)]
    if not pairs or not finite:
        return ""
    name = escape(floors.title(pairs[0][1][0].record))
    sizes = sorted(finite, key=lambda ratio: ratio.value)
    far = times(sizes[0]) if len(sizes) == 1 else f"{_short(sizes[0])} to {_short(sizes[-1])}"
    scheme = escape(group.scheme.label)
    first = f"{scheme} moves images {far} times as far as {name} does"
    return f"**{first}{_harmed(group, [(row, floor) for row, (floor, _) in pairs], name)}"


def _harmed(group: Group, pairs: Sequence[tuple[CellRow, CellRow]], name: str) -> str:
    """The second half of the sentence; it ends the bold type."""
    changes = [(c, getattr(f, group.metric)) for r, f in pairs if (c := _change(r, group))]
    if not group.harm or not changes:
        return ".** Whether it harms was not measured."
    worse = [is_beyond(change, floor) for change, floor in changes]
    makes = f"makes {sum(worse) or 'none'} of {len(worse)} sets"
    if len(worse) == 1:
        makes = "makes the set" if worse[0] else "does not make the set"
    told = f", and {makes} worse beyond the noise and beyond what {name} does**"
    metric = "KD" if group.metric == "kd_change" else "FD"
    digits = decimal_places([change for change, _ in changes])
    own = _span([change for change, _ in changes], digits)
    theirs = _span([floor for _, floor in changes if floor], digits)
    fewer = min(floor.images for _, floor in pairs)
    if theirs and fewer < pairs[0][0].images:
        theirs += f" over {fewer} images"
    return f"{told} (change of {metric} {own}" + (f"; {name} {theirs})." if theirs else ").")


def _change(row: CellRow, group: Group) -> Measurement | None:
    change: Measurement | None = getattr(row, group.metric, None) if group.metric else None
    return change if change and math.isfinite(change.value) else None


def is_beyond(change: Measurement, floor: Measurement | None) -> bool:
    """Whether a change is a loss beyond the noise, and beyond a floor's change with its own."""
    ends = interval(change)
    if ends is None:
        return False
    low = ends[0] if change.better == "lower" else -ends[1]
    return low > max(0.0, _upper(floor))


def _upper(floor: Measurement | None) -> float:
    """The most that a floor may have made worse."""
    if floor is None:
        return 0.0
    low, high = interval(floor) or (floor.value, floor.value)
    return high if floor.better == "lower" else -low


def _span(changes: Sequence[Measurement], digits: int) -> str:
    """One change with its interval, or the least and the largest of several."""
    if not changes:
        return ""
    if len(changes) == 1:
        return measured(changes[0], digits, signed=True)
    values = sorted(change.value for change in changes)
    return f"{number(values[0], digits, True)} to {number(values[-1], digits, True)}"


def _short(ratio: floors.Ratio) -> str:
    return times(ratio).partition(" ")[0]


def unchanged(all_rows: Sequence[CellRow], influences: Influences) -> list[str]:
    """The rows whose images equal those of full precision, or moved less than the floor moves
    them, as findings."""
    told = [
        f"- **{escape(f'{row.checkpoint} {row.scheme} {row.backend}')}**: {escape(text)}."
        for row, text in nearer(all_rows, influences)
    ]
    return [*elsewhere.unchanged_images(all_rows), *told]


def nearer(all_rows: Sequence[CellRow], influences: Influences) -> list[tuple[CellRow, str]]:
    """The rows whose images moved less than the floor moves them, each with what is said of it,
    in a sentence without its end."""
    return [
        (
            row,
            f"images moved {times(ratio)} times as far as {floors.title(floor.record)} moves "
            "them, less than accepted noise: look at the coverage, as little may have been "
            "quantized",
        )
        for row in all_rows
        for floor, ratio in filter(None, [leading(row, influences)])
        if floors.is_nearer(ratio)
    ]


def section(all_rows: Sequence[CellRow], influences: Influences) -> list[str]:
    """A table of the floors and of all that is held against them, and how to read it."""
    lines: list[list[str]] = []
    known = [row for row in all_rows if row.ok and row.floors]
    names = list(dict.fromkeys(name for row in known for name in _units(row, influences)))
    if not names:
        return []
    done, short = set[str](), labels(all_rows)
    everything = [r for row in known for r in (row, *row.floors)]
    digits = {what: decimal_places([_harms(r)[what] for r in everything]) for what in HARMS}
    measured_harms = [what for what in HARMS if any(_harms(r)[what] for r in everything)]
    name = ""
    for row in known:
        if (accepted := unit(row)) is None:
            continue
        if row.checkpoint not in done or row.record.elsewhere:
            for floor in row.floors:
                if str(floor.record.cell) not in done:
                    done.add(str(floor.record.cell))
                    line = _line(floor, accepted, names, influences, short)
                    lines.append([*line, *_told(floor, None, digits, measured_harms)])
            done.add(row.checkpoint)
        line = _line(row, accepted, names, influences, short)
        lines.append([*line, *_told(row, accepted, digits, measured_harms)])
        name = escape(floors.title(accepted.record))
    heads = [*HEADS, *(f"{TITLES.get(metric, metric)}, times {name}" for metric in names)]
    heads += ["PSNR, dB", *(f"Change of {what}" for what in measured_harms), "Harm"]
    legend = (
        f"*Moved*: how many times as far as {name} the images lie from those of full precision, "
        "pair by pair over the images that both have: by PSNR the ratio of the root mean square "
        "errors, else of the mean distances. *Harm*: a change for the worse that is beyond its "
        "own interval and beyond that of the floor, or within them."
    )
    return [*table(heads, lines, left=2), "", legend]


def _line(
    row: CellRow,
    accepted: CellRow,
    names: Sequence[str],
    influences: Influences,
    short: Mapping[str, str],
) -> list[str]:
    """How far a row moved, in units of the accepted one."""
    ratios = {r.metric: r for r in floors.ratios(row.record, accepted.record, influences)}
    is_unit = row.record.cell == accepted.record.cell
    cells = ["1" if is_unit else times(ratios[n]) if n in ratios else NONE for n in names]
    what = floors.title(row.record) if row.cell.is_floor else f"{row.scheme.label} {row.kernel}"
    is_test = row.record.elsewhere is not None and row.reference is not None
    name = row.reference.checkpoint if is_test and row.reference else row.checkpoint
    psnr = measured(row.psnr, decimal_places([row.psnr]))
    return [escape(short.get(name, name)), escape(what), str(row.images), *cells, psnr]


def _told(
    row: CellRow, accepted: CellRow | None, digits: Mapping[str, int], wanted: Sequence[str]
) -> list[str]:
    """The changes that may be harm, and whether one of them is; `accepted` is None for floors."""
    own = _harms(row)
    theirs = _harms(accepted) if accepted else dict.fromkeys(HARMS)
    cells = [measured(own[what], digits[what], signed=True) for what in wanted]
    known = [is_beyond(change, theirs[what]) for what in wanted if (change := own[what])]
    return [*cells, NONE if not known else "beyond" if any(known) else "within"]


def _units(row: CellRow, influences: Influences) -> list[str]:
    """The metrics by which a row can be told in units of the floor."""
    floor = unit(row)
    return [r.metric for r in floors.ratios(row.record, floor.record, influences)] if floor else []


def _harms(row: CellRow) -> dict[str, Measurement | None]:
    """The changes that may be harm: of the distance to real images, and of the likeness to the
    prompts."""
    distances = {"KD": row.kd_change, "FD": None if row.kd_change else row.fd_change}
    return {**distances, "CLIP score": row.record.measurement("delta_clip_score")}
