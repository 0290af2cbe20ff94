"""A comparison as text: the answer first, then findings, rows, notes and the rules.

The same Markdown goes to the terminal and to the summary of a CI job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.core import distances
from bench.report.exports import junit_cases
from bench.report.formatting import NONE, decimal_places, escape, estimated, number, table
from bench.report.frames import safe_csv
from bench.verdicts.compared import FAILING, VERDICTS, ComparedNumber, Comparison

MARKS = {verdict: f"**{verdict}**" for verdict in FAILING}
# Verdicts that JUnit shows as skipped where they do not fail: nothing was decided.
SKIPPED = (*FAILING, "inconclusive", "still failing", "still refused")
WORDS = {0: "no regression", 3: "inconclusive"}
HEADER = ("Verdict", "Cell", "Metric", "BASE", "HEAD", "Change, 95% interval", "Threshold")
COLUMNS = (*HEADER, "p", "Gate", "Remark")

Allowed = Sequence[str]


def markdown(comparison: Comparison, allowed: Allowed, code: int) -> str:
    """The comparison as a Markdown page; `code` is the exit code that was decided."""
    answer = _answer(comparison, allowed, code)
    lines = [f"# {escape(comparison.base)} → {escape(comparison.head)}: {answer}", ""]
    lines += [headline(comparison, allowed), ""]
    for finding, cells in comparison.findings.items():
        state = " (allowed)" if finding.kind in allowed else ""
        text = f"{escape(finding.text)}, in {escape(_names(cells))}"
        lines.append(f"- **{_title(finding.kind)}**{state}: {text}")
    if comparison.findings:
        lines.append("")
    if comparison.rows:
        lines += [*table(COLUMNS, list(map(_line, comparison.rows)), left=3), ""]
    if comparison.notes:
        lines += [f"Also changed: {escape('; '.join(comparison.notes))}.", ""]
    return "\n".join([*lines, _rules(comparison)]) + "\n"


def _answer(comparison: Comparison, allowed: Allowed, code: int) -> str:
    """The exit code in a word or two; for 1 the gravest reason."""
    if code in WORDS:
        return WORDS[code]
    verdicts = {row.verdict for row in comparison.failures(allowed)}
    if verdicts - {"not comparable"}:
        return "regression"
    if verdicts or comparison.void(allowed):
        return "not comparable"
    return "changed in what must be looked at"


def headline(comparison: Comparison, allowed: Allowed) -> str:
    """One sentence that counts what matters."""
    gated = [row for row in comparison.rows if row.gated]
    counts = {word: sum(row.verdict == word for row in gated) for word in VERDICTS}
    same = counts.pop("unchanged")
    said = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    text = f"Of {len(gated)} gated rows {', '.join([*said, f'{same} unchanged'])}"
    blocking = len(comparison.blocking(allowed))
    if blocking:
        text += f"; {blocking} {'finding' if blocking == 1 else 'findings'} to look at"
    excused = len(comparison.failures()) - len(comparison.failures(allowed))
    if excused:
        text += f"; {excused} that cannot be compared {'is' if excused == 1 else 'are'} allowed"
    if comparison.void(allowed):
        text += "; no number that gates was compared, which fails"
    return text + "."


def csv(comparison: Comparison, allowed: Allowed, code: int) -> str:
    """The rows as comma-separated values."""
    import pandas

    return safe_csv(pandas.DataFrame(records(comparison)))


def as_json(comparison: Comparison, allowed: Allowed, code: int) -> str:
    """Everything as one JSON object."""
    data = {
        "base": comparison.base,
        "head": comparison.head,
        "code": code,
        "rows": records(comparison),
        "findings": [
            {"kind": f.kind, "text": f.text, "cells": list(cells), "allowed": f.kind in allowed}
            for f, cells in comparison.findings.items()
        ],
        "notes": list(comparison.notes),
    }
    return json.dumps(data, indent=1) + "\n"


def junit(comparison: Comparison, allowed: Allowed, code: int) -> str:
    """Gated rows and findings as JUnit test cases."""
    cases = []
    failing = {id(row) for row in comparison.failures(allowed)}
    for row in comparison.rows:
        if row.gated:
            outcome = "skipped" if row.verdict in SKIPPED else ""
            outcome = "failure" if id(row) in failing else outcome
            cases.append((row.cell, row.metric or "measured", outcome, _sentence(row)))
    for finding in comparison.blocking(allowed):
        cells = _names(comparison.findings[finding])
        cases.append((cells, _title(finding.kind), "failure", finding.text))
    return junit_cases(f"bench compare {comparison.base} {comparison.head}", cases)


FORMATS: Mapping[str, Callable[[Comparison, Allowed, int], str]] = {
    "markdown": markdown,
    "csv": csv,
    "json": as_json,
    "junit": junit,
}


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows as plain values, with None for missing ones."""
    lines = []
    for row in comparison.rows:
        low, high = row.change.interval() if row.change else (None, None)
        known = row.head or row.base
        lines.append(
            {
                "verdict": row.verdict,
                "checkpoint": row.checkpoint,
                "scheme": row.scheme,
                "backend": row.backend,
                "metric": distances.parts(row.metric, [row.extractor])[0],
                "extractor": row.extractor,
                "n": known.n if known else None,
                "base": row.base.value if row.base else None,
                "head": row.head.value if row.head else None,
                "change": row.change.value if row.change else None,
                "low": low,
                "high": high,
                "paired": row.paired,
                "threshold": row.threshold,
                "gated": row.gated,
                "p": row.adjusted,
                "needed": row.needed,
                "reason": row.reason,
            }
        )
    return lines


def _line(row: ComparedNumber) -> list[str]:
    decimals = decimal_places([m for m in (row.base, row.head) if m])
    change, limit = NONE, NONE
    if row.change:
        change = estimated(row.change, decimals)
    if row.threshold is not None:
        limit = number(row.threshold, decimals)
    return [
        MARKS.get(row.verdict, row.verdict),
        escape(row.cell),
        escape(row.metric) or NONE,
        *(number(m.value, decimals) if m else NONE for m in (row.base, row.head)),
        change,
        limit,
        _chance(row.adjusted),
        "yes" if row.gated else "no",
        escape(_remark(row)) or NONE,
    ]


def _title(kind: str) -> str:
    return "nothing is quantized" if kind == "inert" else f"{kind} changed"


def _chance(p: float | None) -> str:
    if p is None:
        return NONE
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def _remark(row: ComparedNumber) -> str:
    parts = [row.reason] if row.reason else []
    if row.verdict == "inconclusive" and row.change and row.threshold is not None:
        need = f"N = {row.needed} would decide" if row.needed else "no affordable N would decide"
        parts.append(need)
    return "; ".join(parts)


def _sentence(row: ComparedNumber) -> str:
    line = _line(row)
    numbers = f": {line[3]} → {line[4]}, change {line[5]}, threshold {line[6]}"
    remark = f" ({_remark(row)})" if _remark(row) else ""
    return f"{row.verdict}{numbers if row.metric else ''}{remark}"


def _names(cells: Sequence[str], most: int = 3) -> str:
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return ", ".join(cells[:most]) + more


def _rules(comparison: Comparison) -> str:
    paired = sum(row.paired for row in comparison.rows)
    changes = sum(row.change is not None for row in comparison.rows)
    return (
        f"Worse or better: the change is at least the threshold and significant at 5% after Holm "
        f"over the {comparison.tests} gated rows that were tested. Unchanged: the 90% interval "
        f"lies within the threshold. Gated rows that cannot be compared fail, unless `--allow` "
        f"names what stands in the way. Intervals cover the draw of the images, the real ones "
        f"held fixed; {paired} of {changes} changes are paired image by image."
    )
