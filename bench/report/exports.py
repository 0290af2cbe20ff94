"""A run in the formats of other tools: JUnit, github-action-benchmark and Bencher.

JUnit has a test case for each cell: refused ones are skipped, failed ones fail. The other two have
an entry for each number; github-action-benchmark takes the ones of one direction at a time, so
there are two formats, `github-benchmark` where lower is better (its `customSmallerIsBetter`)
and `github-benchmark-bigger` for the rest. Bencher's JSON is its Bencher Metric Format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from bench.core.printable import plain
from bench.core.record import Measurement, Run
from bench.report.rows import CellRow, interval, with_floors

# (class, name, "" or "failure" or "skipped", text)
Case = tuple[str, str, str, str]


def junit_cases(suite: str, cases: Iterable[Case]) -> str:
    """Test cases as JUnit XML."""
    listed = list(cases)
    counts = {kind: sum(case[2] == kind for case in listed) for kind in ("failure", "skipped")}
    root = ElementTree.Element(
        "testsuite",
        name=plain(suite),
        tests=str(len(listed)),
        failures=str(counts["failure"]),
        skipped=str(counts["skipped"]),
        errors="0",
    )
    for group, name, outcome, text in listed:
        case = ElementTree.SubElement(root, "testcase", classname=plain(group), name=plain(name))
        if outcome:
            ElementTree.SubElement(case, outcome, message=plain(text))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def junit(run: Run, folder: Path) -> str:
    """A test case for each cell of a run."""
    outcomes = {"ok": "", "refused": "skipped", "failed": "failure"}
    cases = [
        (row.checkpoint, f"{row.scheme} {row.backend}", outcomes[row.status], row.error)
        for row in with_floors(run)
    ]
    return junit_cases(f"bench run {run.id}", cases)


def github_benchmark(run: Run, folder: Path) -> str:
    """The numbers where lower is better, for `customSmallerIsBetter`."""
    return _entries(run, "lower")


def github_benchmark_bigger(run: Run, folder: Path) -> str:
    """The numbers where higher is better, for `customBiggerIsBetter`."""
    return _entries(run, "higher")


def bencher(run: Run, folder: Path) -> str:
    """Bencher Metric Format: {cell: {measure: {value, lower_value, upper_value}}}."""
    by_cell: dict[str, dict[str, dict[str, float]]] = {}
    for row, measurement in _numbers(run):
        entry = {"value": measurement.value}
        if ends := interval(measurement):
            entry |= {"lower_value": ends[0], "upper_value": ends[1]}
        by_cell.setdefault(_cell(row), {})[plain(measurement.name)] = entry
    return json.dumps(by_cell, indent=1) + "\n"


def _entries(run: Run, better: str) -> str:
    entries = []
    for row, measurement in _numbers(run):
        if measurement.better != better:
            continue
        entry = {
            "name": f"{_cell(row)} {plain(measurement.name)}",
            "unit": plain(measurement.unit) or "1",
            "value": measurement.value,
            "extra": plain(f"kernel {row.kernel}, {_share(row)}, commit {run.commit[:8]}"),
        }
        if ends := interval(measurement):
            entry["range"] = f"± {(ends[1] - ends[0]) / 2:.3g}"
        entries.append(entry)
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _numbers(run: Run) -> Iterator[tuple[CellRow, Measurement]]:
    """Every finite measurement: these formats have no words for other values."""
    for row in with_floors(run):
        for measurement in row.record.measurements:
            if math.isfinite(measurement.value):
                yield row, measurement


def _share(row: CellRow) -> str:
    return "coverage unknown" if row.share is None else f"coverage {row.share:.1%}"


def _cell(row: CellRow) -> str:
    return plain(f"{row.checkpoint} {row.scheme} {row.backend}")
