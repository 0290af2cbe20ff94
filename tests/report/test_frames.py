"""The frame and the formats made of it."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pandas
from helpers import canned_run

from bench import report


def test_one_row_per_measurement_and_none_lost(run):
    frame = report.frame(run)
    assert len(frame) == sum(max(1, len(r.measurements)) for r in run.records)
    assert set(frame["status"]) == {"ok", "refused", "failed"}
    line = frame[(frame.method == "sam") & (frame.scheme == "w4a8") & (frame.metric == "psnr")]
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


def test_what_a_name_is_made_of_has_columns_of_its_own(run):
    simulated = canned_run.measure("psnr_simulated", 50.0, 0.1, "higher")
    first = replace(run.records[1], measurements=(simulated, *run.records[1].measurements))
    frame = report.frame(replace(run, records=(run.records[0], first)))
    taken = frame[frame.measurement == "delta_fd_efficientnet@500"].iloc[0]
    assert (taken.metric, taken.extractor, taken.n) == ("delta_fd", "efficientnet", 500)
    assert list(frame[frame.metric == "psnr"].measurement) == ["psnr@500"]
    assert list(frame[frame.metric == "psnr_simulated"].extractor) == [""]
    assert set(frame.n) == {500}
    assert set(zip(frame.metric, frame.extractor, strict=True)) == {
        ("fd", "efficientnet"),
        ("kd", "efficientnet"),
        ("delta_fd", "efficientnet"),
        ("delta_kd", "efficientnet"),
        ("fd_twin", "efficientnet"),
        ("psnr", ""),
        ("ssim", ""),
        ("psnr_simulated", ""),
    }


def test_the_number_of_real_images_is_a_column(run):
    counted = [replace(r, real_images={"efficientnet": 2}) for r in run.records]
    frame = report.frame(replace(run, records=tuple(counted)))
    assert set(frame[frame.extractor == "efficientnet"].real_images) == {2}
    assert frame[frame.metric == "psnr"].real_images.isna().all()
    assert report.frame(run).real_images.isna().all()


def test_an_interval_without_width_is_none(run):
    def flat(m):
        return replace(m, low=m.value, high=m.value)

    frame = report.frame(canned_run.with_measurements(run, flat))
    assert frame.low.isna().all()
    assert frame.high.isna().all()
