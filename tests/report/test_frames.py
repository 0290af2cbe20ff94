"""The frame and the formats made of it."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import canned_run
import pandas

from bench import report


def test_one_row_per_measurement_and_none_lost(run):
    frame = report.frame(run)
    assert len(frame) == sum(max(1, len(r.measurements)) for r in run.records)
    assert set(frame["status"]) == {"ok", "refused", "failed"}
    line = frame[(frame.method == "sam") & (frame.scheme == "w4a8") & (frame.metric == "psnr@500")]
    assert line[["value", "low", "n", "coverage"]].iloc[0].tolist() == [25.3, 24.95, 500, 0.98]


def test_csv_reads_back(run, tmp_path):
    text = report.FORMATS["csv"](run, tmp_path)
    read = pandas.read_csv(io.StringIO(text))
    assert len(read) == len(report.frame(run))
    assert read["value"].dropna().tolist() == report.frame(run)["value"].dropna().tolist()


def test_json_is_strict(run, tmp_path):
    def broken(m):
        return replace(m, value=math.nan if m.paired else math.inf)

    def refuse(word):
        raise AssertionError(word)

    text = report.FORMATS["json"](canned_run.with_measurements(run, broken), tmp_path)
    read = json.loads(text, parse_constant=refuse)
    assert {line["value"] for line in read} == {None}


def test_markdown_format_is_the_report(run, folder):
    assert report.FORMATS["markdown"](run, folder) == report.markdown(run, folder)


def test_a_run_without_records(run, tmp_path):
    empty = replace(run, records=())
    assert len(report.frame(empty)) == 0
    assert report.FORMATS["json"](empty, tmp_path) == "[]\n"
    assert report.FORMATS["csv"](empty, tmp_path).startswith("run,created")
