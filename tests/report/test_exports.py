"""Exports in the formats of other tools, by the fields that these document."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench import report


def test_junit_has_a_case_for_each_cell(run, tmp_path):
    suite = ElementTree.fromstring(report.FORMATS["junit"](run, tmp_path))
    assert suite.get("tests") == str(len(run.records)) == str(len(suite.findall("testcase")))
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert suite.find(".//failure").get("message") == "RuntimeError: <Tensor> ran out"


def test_junit_survives_control_characters(run, tmp_path):
    bad = [replace(r, error="a\x00b\x1b[0m") if r.status == "failed" else r for r in run.records]
    text = report.FORMATS["junit"](replace(run, records=tuple(bad)), tmp_path)
    assert ElementTree.fromstring(text).find(".//failure").get("message") == r"a\x00b\x1b[0m"


def test_github_benchmark_splits_by_direction(run, tmp_path):
    smaller, bigger = (
        json.loads(report.FORMATS[name](run, tmp_path))
        for name in ("github-benchmark", "github-benchmark-bigger")
    )
    assert len(smaller) + len(bigger) == sum(len(r.measurements) for r in run.records)
    assert all({"name", "unit", "value", "extra"} <= set(entry) for entry in smaller + bigger)
    entry = next(e for e in bigger if e["name"] == "fmnist-sam w4a8 simulated psnr@500")
    assert (entry["unit"], entry["value"], entry["range"]) == ("dB", 25.3, "± 0.35")
    assert "kernel simulated" in entry["extra"]


def test_bencher(run, tmp_path):
    found = json.loads(report.FORMATS["bencher"](run, tmp_path))
    entry = found["fmnist-sam w4a8 simulated"]["psnr@500"]
    assert entry == pytest.approx({"value": 25.3, "lower_value": 24.95, "upper_value": 25.65})


def test_what_is_not_finite_is_left_out(run, tmp_path):
    numbers = tuple(replace(m, value=float("inf")) for m in run.records[0].measurements)
    odd = replace(run, records=(replace(run.records[0], measurements=numbers),))
    assert json.loads(report.FORMATS["bencher"](odd, tmp_path)) == {}
