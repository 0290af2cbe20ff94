"""The appendix: each table of numbers says when, on what and by which command it was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DESCRIBED = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
APPENDIX = [
    ROOT / "docs" / path
    for part in DESCRIBED["nav"]
    for entry in part.get("Appendix", ())
    for path in entry.values()
]
SAID = re.compile(r"\*Measured 20\d\d-\d\d-\d\d, on .+, by .+\.\*")
# Tables that hold numbers which nobody measured, by how they begin.
GIVEN = (
    *("| name | what it is | better", "| name | computed by", "| exit code |", "| input | limits"),
    *("| name | images | files", "| method | an update", "| recipe | data"),
)
NUMBER = re.compile(r"\|\s*\**[-+~]?\d[\d.,]*")


def tables(text):
    """(line before, header, body) of each table."""
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if line.startswith("|") and not lines[k - 1].startswith("|"):
            body = []
            for row in lines[k + 2 :]:
                if not row.startswith("|"):
                    break
                body.append(row)
            before = next(other for other in reversed(lines[:k]) if other.strip())
            yield before, line, body


def is_measured(header, body):
    numbers = sum(bool(NUMBER.search(row)) for row in body)
    return numbers >= max(1, len(body) // 2) and not header.startswith(GIVEN)


@pytest.mark.parametrize("path", APPENDIX, ids=lambda path: path.stem)
def test_measured_tables_say_when_on_what_and_by_what(path):
    for before, header, body in tables(path.read_text(encoding="utf-8")):
        if is_measured(header, body):
            told = (
                f"{path.name}: {header}: write `*Measured DAY, on MACHINE, by COMMAND.*` before it"
            )
            assert SAID.fullmatch(before), told


@pytest.mark.parametrize("path", APPENDIX, ids=lambda path: path.stem)
def test_what_measured_it_is_there(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if SAID.fullmatch(line):
            for name in re.findall(r"(?:docs|benchmarks|tests)/[\w/]+\.py", line):
                assert (ROOT / name).is_file(), line


def test_there_are_such_tables():
    found = [
        header
        for path in APPENDIX
        for _, header, body in tables(path.read_text(encoding="utf-8"))
        if is_measured(header, body)
    ]
    assert len(found) > 40
