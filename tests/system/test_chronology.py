"""Runs in the order in which they say that they were made."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from bench.system import chronology


def keep(out, name, text):
    folder = out / name
    folder.mkdir()
    (folder / "run.json").write_text(text)
    return folder


def stated(time):
    return json.dumps({"id": "x", "created": time, "records": []}, indent=1)


def test_the_stated_time_decides_and_the_name_breaks_ties(tmp_path):
    names = {
        "zz": "2026-01-01T00:00:00+00:00",
        "20260102T000000Z-a-10": "2026-01-02T00:00:00+00:00",
        "20260102T000000Z-a-2": "2026-01-02T00:00:00+00:00",
        "20260102T000000Z-a": "2026-01-02T00:00:00+00:00",
        "aa": "2026-01-03T00:00:00+00:00",
    }
    folders = [keep(tmp_path, name, stated(time)) for name, time in names.items()]
    assert [folder.name for folder in chronology.ordered(folders)] == [
        "zz",
        "20260102T000000Z-a",
        "20260102T000000Z-a-2",
        "20260102T000000Z-a-10",
        "aa",
    ]


def test_zones_are_one_clock(tmp_path):
    early = keep(tmp_path, "a", stated("2026-01-01T01:00:00+02:00"))
    late = keep(tmp_path, "b", stated("2026-01-01T00:00:00"))
    assert chronology.ordered([late, early]) == [early, late]
    assert chronology.created(late) == datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"created": 3}', stated("soon"), "\xff" * 9])
def test_where_no_time_is_stated_the_name_counts(tmp_path, text):
    broken = keep(tmp_path, "20260105T000000Z-x", text)
    nameless = keep(tmp_path, "zz", text)
    whole = keep(tmp_path, "20260101T000000Z-x", stated("2026-01-01T00:00:00+00:00"))
    assert chronology.ordered([broken, whole, nameless]) == [nameless, whole, broken]


def test_a_time_far_down_is_found(tmp_path):
    long = json.dumps({"command": "x" * 9000, "created": "2026-01-01T00:00:00+00:00"})
    assert chronology.created(keep(tmp_path, "a", long)) is not None


def test_runs_of_the_future_are_told(tmp_path):
    folder = keep(tmp_path, "a", stated("2026-01-02T00:00:00+00:00"))
    before, after = (datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 3))
    (line,) = chronology.doubts([folder], before)
    assert "2026-01-02 00:00 UTC" in line
    assert chronology.doubts([folder], after) == []
