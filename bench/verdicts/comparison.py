"""Two runs side by side: what differs, and for each number whether it became worse.

Cells are matched by checkpoint name, scheme and backend. Their difference is HEAD - BASE. Where
both were sampled from the same noise and both runs kept the influences of their images, it is
*paired*: its error is that of the differences of the influences, image by image. Otherwise the
two sets count as independent, which for the same noise gives a wider interval than needed; the row
says which. The real images are held fixed, the same ones in both runs.

Distances are compared in full precision, and quantized cells by their *changes* against it, so
that a worse checkpoint and a worse quantizer are told apart. `decisions` holds the rules.

A number that gates and cannot be compared fails the gate like a loss does (`matching` says what
stands in the way), and so does a comparison in which no number that gates was compared at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bench.core import distances, estimates
from bench.core.record import Measurement, Record, Run, to_json
from bench.system.chronology import moment
from bench.system.influences import key
from bench.system.runs import LoadedRun
from bench.verdicts import decisions, matching
from bench.verdicts.compared import NEWLY, STILL, VERDICTS, ComparedNumber, Comparison
from bench.verdicts.findings import INCOMPARABLE, Finding, findings, notes, same_noise
from bench.verdicts.matching import Obstacle, stem
from bench.verdicts.thresholds import Threshold, find

ABSENT = "no such cell in HEAD"


def compare(base: LoadedRun, head: LoadedRun, thresholds: Sequence[Threshold]) -> Comparison:
    """Decide every number that both runs have."""
    old, new = _cells(base.run), _cells(head.run)
    affected: dict[Finding, list[str]] = {}
    said: dict[str, None] = {}
    rows: list[ComparedNumber] = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before and after and before.status == after.status == "ok":
            for note in notes(before, after):
                said[note] = None
            here = findings(before, after)
            compared = _numbers((base, before), (head, after), thresholds)
            compared = [_barred(row, here) for row in compared]
            here += [Finding("version", r.reason) for r in compared if r.kinds == ("version",)]
            for finding in here:
                affected.setdefault(finding, []).append(" ".join(name))
            rows += compared
        else:
            row = _whole(name, before, after)
            others = [key[2] for key in new if key[:2] == name[:2] and key not in old]
            if row.verdict == "absent" and others:
                row = replace(row, reason=f"{row.reason}, which has {' and '.join(others)} of it")
            rows.append(row)
    rows += [*_repeated(base.run, "BASE"), *_repeated(head.run, "HEAD")]
    rows, tests = _decided_rows(rows)
    rows.sort(key=lambda row: (VERDICTS.index(row.verdict), not row.gated))
    cells = {finding: tuple(names) for finding, names in affected.items()}
    said |= dict.fromkeys(_order(base.run, head.run))
    return Comparison(base.label, head.label, tuple(rows), cells, tuple(said), tests)


def _name(record: Record) -> tuple[str, str, str]:
    return record.cell.checkpoint.name, str(record.cell.scheme), record.cell.backend


def _cells(run: Run) -> dict[tuple[str, str, str], Record]:
    return {_name(record): record for record in run.judged}


def _repeated(run: Run, side: str) -> list[ComparedNumber]:
    """A row for each cell that a run has more than once: which of them counts is not known."""
    counts = Counter(map(_name, run.judged))
    reason = f"{side} has this cell more than once"
    return [
        ComparedNumber(*name, "not comparable", reason=reason, kinds=("protocol",))
        for name, count in counts.items()
        if count > 1
    ]


def _order(base: Run, head: Run) -> list[str]:
    """Notes on two runs as a whole: that they are the same one, or in the wrong order."""
    if (base.id, base.created) == (head.id, head.created):
        # NaN is no NaN's equal, their texts are alike.
        if to_json(base) == to_json(head):
            return ["nothing: BASE and HEAD are the same run"]
        return [
            f"the content of a run: BASE and HEAD are both {base.id}, and what they hold differs: "
            f"one of them was edited"
        ]
    before, after = moment(base.created), moment(head.created)
    if before and after and before > after:
        return [f"the order in time: BASE ({base.created}) is newer than HEAD ({head.created})"]
    return []


def _whole(
    name: tuple[str, str, str], before: Record | None, after: Record | None
) -> ComparedNumber:
    """The row of a cell that was not measured in both runs."""
    measured = before is not None and before.status == "ok"
    if after is None:
        was = "" if measured or before is None else f"; it was {before.status} in BASE"
        return ComparedNumber(
            *name, "absent", gated=measured, reason=ABSENT + was, kinds=("missing",)
        )
    if after.status == "ok":
        verdict = "new" if before is None else "fixed"
        return ComparedNumber(
            *name, verdict, reason="" if before is None else f"was {before.status}"
        )
    reason = f"{after.status}: {after.error}"
    if before is None:
        return ComparedNumber(*name, "new", reason=reason)
    words = NEWLY if measured else STILL
    kinds = ("refused",) if measured and after.status == "refused" else ()
    return ComparedNumber(
        *name, words.get(after.status, "newly failing"), reason=reason, kinds=kinds
    )


def _numbers(
    base: tuple[LoadedRun, Record], head: tuple[LoadedRun, Record], thresholds: Sequence[Threshold]
) -> list[ComparedNumber]:
    """A row for each number of a cell; its verdict is "" where it is still to be decided."""
    before, after = base[1], head[1]
    olds, news = ({stem(m): m for m in r.measurements} for r in (before, after))
    several = matching.repeated(before) | matching.repeated(after)
    noise, rows = same_noise(before, after), []
    for metric in dict.fromkeys([*olds, *news]):
        if f"delta_{metric}" in {*olds, *news}:
            continue
        old, new = olds.get(metric), news.get(metric)
        full = matching.full_precision(metric, olds)
        row = _row(before, metric, old, new)
        if metric in several:
            row = _impeded(row, Obstacle("protocol", f"{metric} was measured more than once"))
        row = _limited(row, full, thresholds)
        if row.verdict == "" and old and new:
            sides = (*base, old), (*head, new)
            terms = [whole.influences.get(key(r.cell, m.name)) for whole, r, m in sides]
            row = _changed(row, matching.difference(old, new, terms, noise), full)
        rows.append(row)
    return rows


def _row(
    record: Record, metric: str, old: Measurement | None, new: Measurement | None
) -> ComparedNumber:
    extractor = distances.parts(metric, record.cell.extractors)[1]
    cell_and_metric = (*_name(record), "", metric, extractor)
    if old is None:
        return replace(
            ComparedNumber(*cell_and_metric, old, new),
            verdict="new",
            reason="not measured in BASE",
        )
    row = ComparedNumber(*cell_and_metric, old, new)
    if new is None:
        reason = "not measured in HEAD"
        return replace(row, verdict="absent", reason=reason, kinds=("missing",))
    barrier = matching.obstacle(old, new)
    return _impeded(row, barrier) if barrier else row


def _impeded(row: ComparedNumber, obstacle: Obstacle) -> ComparedNumber:
    verdict = "newly failing" if obstacle.reason == "undefined in HEAD" else "not comparable"
    return replace(row, verdict=verdict, reason=obstacle.reason, kinds=(obstacle.kind,))


def _limited(
    row: ComparedNumber, full: float | None, thresholds: Sequence[Threshold]
) -> ComparedNumber:
    """The row with its threshold; a relative threshold is a share of `full`."""
    entry = find(thresholds, row.metric, row.checkpoint, row.scheme)
    if entry is None or row.base is None:
        return replace(row, gated=False, reason=row.reason or "no threshold")
    if entry.relative is not None and full is None:
        distance = row.metric.removeprefix("delta_")
        reason = f"the threshold is a share of {distance}, which BASE lacks"
        return replace(row, gated=entry.gate, reason=row.reason or reason)
    return replace(row, threshold=entry.size(full or 0.0), gated=entry.gate)


def _changed(row: ComparedNumber, change: matching.Change, full: float | None) -> ComparedNumber:
    """The row with its change."""
    assert row.base and row.head
    size = max(abs(size) for size in (row.base.value, row.head.value, full or 0.0))
    estimate = change.estimate and change.estimate.without_rounding(size)
    reason = "; ".join(filter(None, (row.reason, change.remark)))
    return replace(row, change=estimate, paired=change.paired, reason=reason)


def _barred(row: ComparedNumber, differences: Sequence[Finding]) -> ComparedNumber:
    """The row as not comparable where findings make its two numbers mean different things."""
    kinds = {f.kind for f in differences if f.kind in INCOMPARABLE}
    kinds |= {f.kind for f in differences if f.kind == "extractor" and row.extractor}
    if not kinds or row.verdict in ("absent", "new"):
        return row
    reason = f"{', '.join(sorted(kinds))} changed"
    more = f"; {row.reason}" if row.verdict else ""
    kinds |= {*row.kinds}
    verdict = row.verdict or "not comparable"
    return replace(
        row, verdict=verdict, change=None, reason=reason + more, kinds=tuple(sorted(kinds))
    )


def _decided_rows(rows: Sequence[ComparedNumber]) -> tuple[list[ComparedNumber], int]:
    """The rows with their verdicts, and how many of those that gate were tested together."""
    tested = [r for r in rows if r.verdict == "" and r.change and r.threshold is not None]
    told: dict[int, ComparedNumber] = {}
    for gated in (True, False):
        family = [row for row in tested if row.gated == gated]
        chances = [decisions.two_sided(_worsening(row)) for row in family]
        for row, p in zip(family, decisions.holm(chances), strict=True):
            told[id(row)] = _with_verdict(row, p, len(family))
    decided = [told.get(id(row)) or _undecided(row) for row in rows]
    return decided, sum(row.gated for row in tested)


def _with_verdict(row: ComparedNumber, adjusted: float, tests: int) -> ComparedNumber:
    assert row.head and row.threshold is not None
    verdict, needed = decisions.decide(_worsening(row), row.threshold, adjusted), None
    if verdict == "inconclusive":
        needed = decisions.needed(_worsening(row), row.threshold, row.head.n, tests)
    return replace(row, verdict=verdict, adjusted=adjusted, needed=needed)


def _undecided(row: ComparedNumber) -> ComparedNumber:
    """The verdict of a row that no test can decide: equal numbers are unchanged, others fail."""
    if row.verdict:
        return row
    assert row.base and row.head
    if math.isclose(row.head.value, row.base.value, rel_tol=estimates.ROUNDING):
        return replace(row, verdict="unchanged")
    if not row.gated:
        return replace(row, verdict="inconclusive")
    kind = "interval" if row.change is None else "threshold"
    return replace(row, verdict="not comparable", kinds=(kind,))


def _worsening(row: ComparedNumber) -> estimates.Estimate:
    assert row.head and row.change
    return row.change if row.head.better == "lower" else row.change.flipped()
