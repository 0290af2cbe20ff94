"""The report's text, literally and by its promises.

`tests/golden/report.md` is the whole report of the canned run. After a change of the text that is
meant, write it again with `python tests/helpers/canned_run.py` and read the difference in git.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from helpers import canned_run

from bench import report


def test_golden(run, folder):
    text = report.render(run, folder).read_text(encoding="utf-8")
    assert text == canned_run.GOLDEN.read_text(encoding="utf-8")


def test_rendering_twice_is_the_same(run, folder):
    first = report.render(run, folder).read_text(encoding="utf-8")
    assert report.render(run, folder).read_text(encoding="utf-8") == first


def test_refused_and_failed_rows_appear_with_their_reason(run, tmp_path):
    text = report.markdown(run, tmp_path)
    assert "no kernel for w2 \\| use w4a8" in text
    assert "RuntimeError: \\<Tensor\\> ran out" in text
    assert "12 of 14 cells were measured, 1 refused and 1 failed" in text


def test_every_table_has_one_width_of_columns(run, tmp_path):
    for block in re.findall(r"(?:^\|.*\n)+", report.markdown(run, tmp_path), re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1, block


def test_no_lower_distance_is_an_improvement_without_an_interval(run, tmp_path):
    def bare(m):
        return replace(m, low=None, high=None)

    text = report.markdown(canned_run.with_measurements(run, bare), tmp_path)
    assert "an improvement beyond" not in text
    assert "FD -0.45 (from 33.90 to 33.45), no interval yet, so not an improvement" in text
    assert "Values with no interval have no rank" in text


def test_intervals_decide_the_words(run, tmp_path):
    text = report.markdown(run, tmp_path)
    # KD has no interval here, and the biased FD alone decides nothing.
    assert "FD -0.45 [-0.65, -0.25] (from 33.90 to 33.45); moved by PSNR 35.60 dB" in text
    assert "beyond the noise" not in text
    assert "FD -0.12 [-0.52, +0.28] (from 29.55 to 29.43), not distinguishable from 0" in text


def test_the_unbiased_distance_decides_between_loss_and_gain(run, tmp_path):
    def known(m):
        if not m.name.startswith("delta_kd"):
            return m
        return replace(m, value=1.0, low=0.5, high=1.5)

    text = report.markdown(canned_run.with_measurements(run, known), tmp_path)
    assert "KD +1.00 [+0.50, +1.50], a loss beyond the noise; FD -0.45" in text


def test_undefined_values_are_named(run, folder):
    def broken(m):
        return replace(m, value=math.nan, low=math.nan, high=math.nan)

    text = report.render(canned_run.with_measurements(run, broken), folder).read_text()
    assert "undefined" in text and not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_identical_images_have_infinite_psnr(run, folder):
    def perfect(m):
        return replace(m, value=math.inf, low=None, high=None) if m.name == "psnr@500" else m

    text = report.render(canned_run.with_measurements(run, perfect), folder).read_text()
    assert "PSNR infinite: identical to full precision" in text


def test_one_scheme(folder):
    text = report.render(canned_run.run("w4a8"), folder).read_text()
    assert "### w4a8" in text and "### w8a8" not in text


def test_only_full_precision(run, tmp_path):
    records = tuple(r for r in run.records if r.cell.scheme.is_float)
    text = report.render(replace(run, records=records), tmp_path).read_text()
    assert "nothing was quantized" in text and "No quantized cell was measured." in text


def test_nothing_measured_and_no_records(run, tmp_path):
    bad = tuple(r for r in run.records if r.status != "ok")
    assert "0 of 2 cells" in report.render(replace(run, records=bad), tmp_path).read_text()
    assert "no cells" in report.render(replace(run, records=()), tmp_path).read_text()


def test_missing_samples_are_named_and_figures_linked_only_where_they_are(run, tmp_path):
    text = report.render(run, tmp_path).read_text()
    assert "No sample images were kept of: fmnist-baseline fp32 float" in text
    assert "figures/loss_by_bits.png" in text and "figures/grid.png" not in text


def test_measurements_without_a_column_are_listed(run, tmp_path):
    extra = canned_run.measure("flatness", 0.25, None)
    first = replace(run.records[1], measurements=(*run.records[1].measurements, extra))
    text = report.markdown(replace(run, records=(run.records[0], first)), tmp_path)
    assert "flatness@500" in text


def test_what_was_not_measured_is_told_with_its_reason(run, tmp_path):
    first = replace(run.records[1], error="not measured: ssim needs | larger images")
    text = report.markdown(replace(run, records=(run.records[0], first)), tmp_path)
    _, _, part = text.partition("## Not measured")
    assert "ssim needs \\| larger images" in part
    assert "## Not measured" not in report.markdown(run, tmp_path)


def test_every_heading_is_its_own_where_kernels_differ(run, tmp_path):
    def executed(record):
        cell = replace(record.cell, backend="int8-x86")
        coverage = record.coverage and replace(record.coverage, kernel="int8")
        return replace(record, cell=cell, coverage=coverage)

    quantized = [r for r in run.records if not r.cell.scheme.is_float]
    both = replace(run, records=(*run.records, *map(executed, quantized)))
    text = report.markdown(both, tmp_path)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(set(headings)) == len(headings)
    assert {"### w8a8, int8 kernels", "### w8a8, simulated"} <= set(headings)
