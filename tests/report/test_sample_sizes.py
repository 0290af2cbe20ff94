"""A run whose cells took different numbers of images says so and compares none wrongly."""

from dataclasses import replace

import pytest
from helpers import canned_run

from bench import report
from bench.core.record import run_from_json, to_json
from bench.core.rounds import Decided, Rounds
from bench.report.ranking import groups
from bench.report.rows import rows
from bench.report.sample_sizes import draws, precision, span, verdicts


def sampled(run, images, reached):
    """The run with N and whether the precision was reached by (method, scheme)."""
    records = []
    for record in run.records:
        cell = record.cell
        key = cell.checkpoint.method, str(cell.scheme)
        count = images.get(key, 200)
        cell = replace(cell, draw=replace(cell.draw, images=count))
        rounds = None
        if record.status == "ok" and not cell.scheme.is_float:
            rounds = Rounds("delta_fd_efficientnet", 0.3, reached.get(key, True), (200, count))
        records.append(replace(record, cell=cell, rounds=rounds))
    return replace(run, records=tuple(records))


@pytest.fixture
def uneven(run):
    most = {("ema", scheme): 400 for scheme in ("fp32", "w8a8")}
    return sampled(run, most, {("ema", "w8a8"): False})


def test_rounds_survive_json(uneven):
    assert run_from_json(to_json(uneven)) == uneven


def test_the_cell_that_the_budget_stopped_is_named_with_its_width(uneven):
    text = "\n".join(precision(rows(uneven)))
    assert "at most ±0.3 of delta_fd_efficientnet" in text
    assert "ended first** at fmnist-ema w8a8 simulated (N = 400, ±0.40)." in text
    assert text.count("(N = ") == 1
    assert "Rows of different N do not compare" in text


def test_what_was_decided_stands_in_a_row_for_each_cell(run, tmp_path):
    kd = "delta_kd_efficientnet"
    known = Decided(kd, "worse", 0.001, 0.95, 0.0123, 0.01, 0.0146, (100, 200, 500), 500)
    ended = replace(known, verdict="undecided", low=None, high=None)
    records = [
        replace(r, decided=known if r.cell.scheme.weight_bits == 4 else ended)
        if r.status == "ok" and not r.cell.scheme.is_float
        else r
        for r in run.records
    ]
    found = replace(run, records=tuple(records))
    assert run_from_json(to_json(found)) == found
    text = report.markdown(found, tmp_path)
    assert text.count("| undecided |") == text.count("| worse     |") == 4
    (line,) = [line for line in verdicts(rows(found)) if "| sam " in line and "w4a8" in line]
    assert [cell.strip() for cell in line.split("|")[4:-1]] == [
        *("worse", "delta_kd_efficientnet", "+0.012300", "[+0.010000, +0.014600]"),
        *("0.001000", "500", "3"),
    ]
    assert "worse than full precision by the margin" in text
    assert verdicts(rows(run)) == []


def test_nothing_is_said_of_runs_with_a_given_n_and_less_where_all_n_are_equal(run):
    assert precision(rows(run)) == []
    text = "\n".join(precision(rows(sampled(run, {}, {}))))
    assert "Each quantized cell was sampled in rounds" in text
    assert "ended first" not in text
    assert "different N" not in text


def test_cells_keep_their_full_precision_row_and_are_ranked_among_equal_n(uneven, tmp_path):
    found = rows(uneven)
    twins = {r.checkpoint: r.reference for r in found if not r.scheme.is_float}
    assert twins["fmnist-ema"].images == 400
    assert {len({row.images for row in group.rows}) for group in groups(found)} == {1}
    text = report.markdown(uneven, tmp_path)
    assert "200 to 400 images per cell with DDIM in 20 steps" in text
    assert "### w8a8, N = 400" in text
    assert "### w8a8, N = 200" in text
    assert "| 200 to 400 per cell, indices 0 to 399" in text


def test_fd_before_quantization_is_that_at_the_row_s_own_n(uneven, tmp_path):
    """Full precision took more images, and its own FD has another bias."""
    records = [
        replace(
            r,
            measurements=tuple(
                replace(m, value=m.value - 5) if m.name.startswith("fd_e") else m
                for m in r.measurements
            ),
        )
        if r.cell.scheme.is_float
        else r
        for r in uneven.records
    ]
    text = report.markdown(replace(uneven, records=tuple(records)), tmp_path)
    before, changes = canned_run.NUMBERS["ema"]
    assert f"(from {before:.2f} to {before + changes['w8a8'][0]:.2f})" in text


def test_draws_differ_in_more_than_n(uneven):
    assert [counts for _, counts in draws(rows(uneven))] == [[200, 400]]
    assert (span([200]), span([200, 400])) == ("200", "200 to 400")


def test_few_real_images_are_told_with_the_results(run, tmp_path):
    assert "Few real images" not in report.markdown(run, tmp_path)
    assert "number not recorded" in report.markdown(run, tmp_path)
    few = [replace(r, real_images={"efficientnet": 2}) for r in run.records]
    text = report.markdown(replace(run, records=tuple(few)), tmp_path)
    assert text.count("**Few real images:** fashion-mnist: only 2 real images for N = 500") == 1
    assert "2 by efficientnet" in text
    enough = [replace(r, real_images={"efficientnet": 10_000}) for r in run.records]
    text = report.markdown(replace(run, records=tuple(enough)), tmp_path)
    assert "Few real images" not in text
    assert "10,000 by efficientnet" in text
    read = run_from_json(to_json(replace(run, records=tuple(few))))
    assert read.records[0].real_images == {"efficientnet": 2}
