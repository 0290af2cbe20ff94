"""`bench compare`, `bench baseline` and `bench history` as a user types them, on canned runs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from helpers.gates import NEW, OLD, altered, keep, kernels, made, side

from bench import api
from bench.core.errors import InputError
from bench.core.record import to_json
from bench.system import influences
from bench.verdicts import baseline


@pytest.fixture
def out(tmp_path):
    """A folder with an accepted baseline."""
    keep(tmp_path, side(), OLD)
    baseline.accept(tmp_path, OLD, "first")
    return tmp_path


def refused(result, *words):
    code, stdout, stderr = result
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    for word in words:
        assert word in stderr


def test_the_last_run_against_the_baseline(bench, out):
    keep(out, side(psnr=-1.0), NEW)
    code, stdout, stderr = bench("compare", "--out", out)
    told = f"HEAD is the newest run, {NEW}, made 2026-01-01T00:00:00+00:00\n"
    assert (code, stderr) == (1, told)
    assert stdout.startswith(f"# baseline {OLD} → {NEW}: regression\n")
    assert "Of 3 gated rows 1 worse, 2 unchanged." in stdout
    line = next(line for line in stdout.splitlines() if line.startswith("| **worse**"))
    assert "| psnr " in line
    assert "-1.0" in line
    assert bench("compare", "baseline", "baseline", "--out", out)[0] == 0
    assert bench("compare", NEW, OLD, "--out", out)[0] == 0


def test_runs_by_file_and_folder(bench, out, tmp_path):
    folder = keep(out, side(psnr=-1.0), NEW)
    alone = tmp_path / "head.json"
    alone.write_text((folder / "run.json").read_text())
    for head in (folder, folder / "run.json"):
        code, stdout, _ = bench("compare", OLD, head, "--out", out)
        assert code == 1
        assert "3 of 3 changes are paired" in stdout
    code, stdout, _ = bench("compare", OLD, alone, "--out", out)
    assert code == 1
    assert "unpaired: influences of both runs are needed" in stdout


def test_exit_codes_on_request(bench, out):
    folder = keep(out, side(psnr=-0.4), NEW)
    (folder / influences.NAME).unlink()
    assert bench("compare", "--out", out)[0] == 0
    code, stdout, _ = bench("compare", "--out", out, "--fail-on", "inconclusive")
    assert code == 3
    assert ": inconclusive" in stdout.splitlines()[0]
    assert "would decide" in stdout
    assert bench("compare", "--out", out, "--fail-on", "delta_kd")[0] == 0


def test_findings_fail_until_they_are_allowed(bench, out):
    keep(out, altered(side(), sha256="b" * 64), NEW)
    code, stdout, _ = bench("compare", "--out", out)
    assert code == 1
    assert "- **weights changed**: SHA-256 aaaaaaaaaaaa → bbbbbbbbbbbb" in stdout
    assert bench("compare", "--out", out, "--allow", "weights")[0] == 0
    refused(bench("compare", "--out", out, "--allow", "everything"), "weights, coverage")


def test_thresholds_of_a_file(bench, out, tmp_path):
    keep(out, side(psnr=-1.0), NEW)
    limits = tmp_path / "limits.toml"
    limits.write_text('[[threshold]]\nmetric = "psnr"\nabsolute = 3\n')
    assert bench("compare", "--out", out, "--thresholds", limits)[0] == 0
    refused(bench("compare", "--out", out, "--thresholds", out / "none"), "none", "TOML")
    refused(bench("compare", "--out", out, "--fail-on", "psnr:much"), "METRIC:0.5")


def test_formats(bench, out):
    keep(out, side(psnr=-1.0), NEW)
    rows = list(csv.DictReader(io.StringIO(bench("compare", "--out", out, "--format", "csv")[1])))
    assert {(row["metric"], row["verdict"]) for row in rows} >= {("psnr", "worse")}
    data = json.loads(bench("compare", "--out", out, "--format", "json")[1])
    assert (data["code"], len(data["rows"])) == (1, len(rows))
    code, stdout, _ = bench("compare", "--out", out, "--format", "junit")
    suite = ElementTree.fromstring(stdout)
    assert (code, suite.get("tests"), suite.get("failures")) == (1, "3", "1")
    failure = suite.find(".//failure/..")
    assert failure.get("name") == "psnr"
    assert "30.0" in failure.find("failure").get("message")
    refused(bench("compare", "--out", out, "--format", "pdf"), "markdown, csv, json, junit")


def test_bad_runs(bench, out, tmp_path):
    refused(bench("compare", "nothing", "--out", out), "nothing")
    refused(bench("compare", "--out", tmp_path / "empty"), "bench baseline accept")
    folder = keep(out, side(), NEW)
    (folder / influences.NAME).write_bytes(b"PK")
    refused(bench("compare", "--out", out), "damaged")
    (folder / "run.json").write_text("{")
    refused(bench("compare", "--out", out), "damaged")
    (folder / influences.NAME).unlink()
    refused(bench("compare", "--out", out), "run.json")


def test_the_baseline_moves_with_a_reason_and_keeps_its_past(bench, out):
    keep(out, side(psnr=-1.0), NEW)
    assert bench("compare", "--out", out)[0] == 1
    code, stdout, _ = bench(
        "baseline", "accept", NEW, "--reason", "a new\nquantizer", "--out", out
    )
    assert (code, stdout) == (0, f"baseline is now {NEW}: a new quantizer\n")
    assert bench("compare", "--out", out)[0] == 0
    lines = [json.loads(line) for line in (out / baseline.NAME).read_text().splitlines()]
    assert [line["run"] for line in lines] == [OLD, NEW]
    shown = bench("baseline", "show", "--out", out)[1].splitlines()
    assert [line.split("  ")[1:] for line in shown] == [[OLD, "first"], [NEW, "a new quantizer"]]


def test_bad_baselines(bench, out, tmp_path):
    before = (out / baseline.NAME).read_text()
    refused(bench("baseline", "accept", OLD, "--out", out), "--reason")
    refused(bench("baseline", "accept", OLD, "--reason", " ", "--out", out), "--reason")
    refused(bench("baseline", "accept", "none", "--reason", "x", "--out", out), "none")
    other = keep(tmp_path / "other", side(), NEW)
    refused(bench("baseline", "accept", other, "--reason", "x", "--out", out), "--out")
    empty = side()
    dead = [replace(r, status="failed", measurements=()) for r in empty.run.records]
    keep(out, replace(empty, run=replace(empty.run, records=tuple(dead))), NEW)
    refused(
        bench("baseline", "accept", NEW, "--reason", "x", "--out", out), "nothing was measured"
    )
    assert (out / baseline.NAME).read_text() == before
    (out / OLD / "run.json").unlink()
    refused(bench("compare", "--out", out), OLD, "restore")
    (out / baseline.NAME).write_text("{}\n")
    refused(bench("compare", "--out", out), "line 1")


def test_history(bench, tmp_path):
    refused(bench("history", "--out", tmp_path), "bench run")
    for k in range(6):
        keep(tmp_path, side(psnr=-0.2 * k + 0.01 * (-1) ** k), f"2026010{k + 1}T000000Z-aaaaaaaa")
    code, stdout, stderr = bench("history", "--out", tmp_path)
    assert code == 1
    assert "# The last 6 runs" in stdout
    line = next(line for line in stdout.splitlines() if "**drifts, worse**" in line)
    assert "psnr" in line
    assert (tmp_path / "trend" / "psnr.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / "trend" / "psnr.png") in stderr
    code, stdout, _ = bench("history", "--metric", "kd*", "--last", "3", "--out", tmp_path)
    assert code == 0
    assert "psnr" not in stdout
    assert "too few runs" in stdout
    refused(bench("history", "--last", "1", "--out", tmp_path), "--last")
    refused(bench("history", "--metric", "none", "--out", tmp_path), "none")


def test_a_word_for_a_number_that_neither_run_has(bench, out):
    keep(out, side(psnr=-5.0), NEW)
    refused(
        bench("compare", "--out", out, "--fail-on", "latency:1"),
        "--fail-on latency:1",
        "kd_efficientnet",
    )
    refused(bench("compare", "--out", out, "--fail-on", "cmmd"), "--fail-on cmmd", "psnr")
    with pytest.raises(InputError, match="latency"):
        api.compare(OLD, NEW, fail_on=["latency:1"], out=out)


def test_what_cannot_be_compared_fails_in_every_format(bench, out):
    broken = made(side(psnr=-5.0, delta=500.0), lambda m: replace(m, unit="bel"))
    keep(out, broken, NEW)
    code, stdout, _ = bench("compare", "--out", out)
    assert code == 1
    assert "Of 3 gated rows 3 not comparable, 0 unchanged" in stdout
    assert stdout.splitlines()[0].endswith(": not comparable")
    assert "no number that gates was compared, which fails" in stdout
    assert "unit of psnr dB → bel" in stdout
    code, stdout, _ = bench("compare", "--out", out, "--format", "junit")
    suite = ElementTree.fromstring(stdout)
    assert (code, suite.get("failures"), suite.get("skipped")) == (1, "3", "0")
    assert bench("compare", "--out", out, "--fail-on", "inconclusive")[0] == 1
    code, stdout, _ = bench("compare", "--out", out, "--allow", "unit")
    assert code == 0
    assert "3 that cannot be compared are allowed" in stdout


def test_other_selections_are_absent_and_new(bench, out):
    other = side()
    renamed = [
        replace(r, cell=replace(r.cell, checkpoint=replace(r.cell.checkpoint, name="other")))
        for r in other.run.records
    ]
    keep(out, replace(other, run=replace(other.run, records=tuple(renamed))), NEW)
    code, stdout, _ = bench("compare", "--out", out)
    assert code == 1
    assert "newly failing" not in stdout
    assert "2 absent" in stdout
    assert "no such cell in HEAD" in stdout


def test_the_newest_run_is_the_one_that_says_so(bench, out):
    """Not the one whose folder sorts last: names are changed, and clocks jump."""
    keep(out, side(psnr=-1.0), NEW)
    late = replace(side().run, created="2026-01-09T00:00:00+00:00")
    keep(out, replace(side(), run=late), "20250101T000000Z-cccccccc")
    code, stdout, stderr = bench("compare", "--out", out)
    assert code == 0
    assert "20250101T000000Z-cccccccc" in stdout.splitlines()[0]
    assert stderr.splitlines() == [
        "HEAD is the newest run, 20250101T000000Z-cccccccc, made 2026-01-09T00:00:00+00:00"
    ]
    future = replace(side().run, created="2999-01-09T00:00:00+00:00")
    keep(out, replace(side(), run=future), "20240101T000000Z-dddddddd")
    code, _, stderr = bench("compare", "--out", out)
    assert code == 0
    assert "20240101T000000Z-dddddddd says it was made at 2999-01-09 00:00 UTC" in stderr


def test_what_is_said_of_two_runs_as_such(bench, out):
    keep(out, side(), NEW)
    assert "BASE and HEAD are the same run" in bench("compare", NEW, NEW, "--out", out)[1]
    edited = out.parent / "edited.json"
    edited.write_text(to_json(replace(api.load(NEW, out=out).run, commit="b" * 40)))
    stdout = bench("compare", NEW, edited, "--out", out)[1]
    assert "the same run" not in stdout
    assert f"BASE and HEAD are both {NEW}, and what they hold differs" in stdout
    late = replace(side().run, created="2026-01-09T00:00:00+00:00")
    keep(out, replace(side(), run=late), NEW)
    code, stdout, _ = bench("compare", NEW, OLD, "--out", out)
    assert code == 0
    assert "BASE (2026-01-09T00:00:00+00:00) is newer than HEAD" in stdout


def test_history_of_integer_kernels(bench, tmp_path):
    """Their changes had no threshold, so that any drift ended with "too few runs" and 0."""
    for k in range(6):
        many = side(delta=60.0 * k)
        keep(tmp_path, replace(many, run=kernels(many.run)), f"2026010{k + 1}T000000Z-aaaaaaaa")
    code, stdout, _ = bench("history", "--metric", "delta*", "--out", tmp_path)
    assert code == 1
    assert stdout.count("**drifts, worse**") == 2
    assert "too few" not in stdout


def test_few_runs_hide_no_gross_loss(bench, tmp_path):
    keep(tmp_path, side(), OLD)
    assert bench("history", "--out", tmp_path)[0] == 0
    keep(tmp_path, side(psnr=-9.0), NEW)
    code, stdout, _ = bench("history", "--out", tmp_path)
    assert code == 1
    assert "too few runs for a line: 2 of 4" in stdout
    full, quantized = side().run.records
    bad = replace(quantized, status="failed", measurements=(), coverage=None, error="broke")
    broken = replace(side(), run=replace(side().run, records=(full, bad)))
    keep(tmp_path, broken, "20260103T000000Z-cccccccc")
    code, stdout, _ = bench("history", "--out", tmp_path)
    assert code == 1
    assert "**cannot be judged**" in stdout
    assert "failed in the newest run" in stdout


def test_history_names_cells_that_the_newest_run_has_not(bench, tmp_path):
    keep(tmp_path, side(), OLD)
    keep(tmp_path, replace(side(), run=replace(side().run, records=side().run.records[:1])), NEW)
    code, stdout, _ = bench("history", "--out", tmp_path)
    assert code == 0
    assert "Not in the newest run, and so not shown: fashion-sam w8a8 simulated." in stdout
