"""Drift over canned runs, against the regression line by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.gates import altered, kernels, made, side

from bench.system.runs import read_run, run_folders
from bench.verdicts.history import LEAST, histories, repeated
from bench.verdicts.thresholds import load


def runs(*shifts):
    return [
        side(psnr=shift, identity=f"2026010{k}T000000Z-aaaaaaaa").run
        for k, shift in enumerate(shifts)
    ]


def psnr(found):
    return next(series for series in found if series.metric == "psnr")


def test_a_slow_loss_drifts_though_no_step_matters():
    shifts = [-0.2 * k + 0.01 * (-1) ** k for k in range(8)]
    series = psnr(histories(runs(*shifts), 8, load()))
    assert series.verdict == "worse"
    slope, _ = np.polyfit(range(8), shifts, 1)
    assert series.drift.value == pytest.approx(7 * slope)
    assert series.drift.degrees == 6
    assert abs(shifts[1] - shifts[0]) < series.threshold < -series.drift.value


def test_scatter_is_no_drift():
    series = psnr(histories(runs(0.1, -0.1, 0.1, -0.1, 0.1, -0.1), 8, load()))
    assert series.verdict == "unchanged"
    wild = psnr(histories(runs(1.0, -1.0, 0.8, -1.2, 1.1, -1.0), 8, load()))
    assert wild.verdict == "inconclusive"


def test_equal_runs_are_unchanged():
    assert psnr(histories(runs(0.0, 0.0, 0.0, 0.0), 8, load())).verdict == "unchanged"


def test_few_runs_are_held_against_each_other_by_their_intervals():
    gross = psnr(histories(runs(*[-3.0 * k for k in range(LEAST - 1)]), 8, load()))
    assert (gross.verdict, gross.failing) == ("worse", True)
    assert gross.drift.value == pytest.approx(-6)
    assert gross.reason == "too few runs for a line: 3 of 4"
    slight = psnr(histories(runs(0.0, -0.2), 8, load()))
    assert (slight.verdict, slight.failing) == ("inconclusive", False)
    alone = psnr(histories(runs(0.0), 8, load()))
    assert (alone.drift, alone.verdict, alone.failing) == (None, "", False)
    assert alone.reason == "too few runs for a line: 1 of 4"


def test_only_the_last_runs_and_only_comparable_ones():
    many = runs(9.0, 9.0, 0.0, 0.0, 0.0, 0.0)
    assert [m.value for m in psnr(histories(many, 4, load())).measured] == [30.0] * 4
    many[3] = altered(replace(side(), run=many[3]), steps=7).run
    assert len(psnr(histories(many, 4, load())).measured) == 3


def test_a_failed_cell_is_a_point_without_a_number():
    many = runs(0.0, 0.0, 0.0)
    full, quantized = many[1].records
    bad = replace(quantized, status="failed", measurements=(), coverage=None, error="broke")
    many[1] = replace(many[1], records=(full, bad))
    points = psnr(histories(many, 9, load())).points
    assert [point.status for point in points] == ["ok", "failed", "ok"]
    assert points[1].measurement is None


def test_noise_raises_few_alarms():
    random, alarms = np.random.default_rng(0), 0
    for _ in range(60):
        found = histories(runs(*random.normal(0, 0.4, 5)), 9, load())
        alarms += psnr(found).verdict == "worse"
    assert alarms <= 4


def test_a_change_is_no_scale_for_its_own_drift():
    def bare(run):
        full, quantized = run.records
        kept = [m for m in quantized.measurements if not m.name.startswith("kd")]
        return replace(run, records=(full, replace(quantized, measurements=tuple(kept))))

    many = [side(delta=3.0 * k).run for k in range(6)]
    found = next(s for s in histories(list(map(bare, many)), 9, load()) if "delta" in s.metric)
    assert found.reason == "the threshold is a share of kd_efficientnet, which is missing"
    assert found.failing
    decided = {
        s.metric: (s.threshold, s.verdict) for s in histories(list(map(bare, many)), 9, load())
    }
    assert decided["delta_kd_efficientnet"] == (None, "")
    decided = {s.metric: s.verdict for s in histories(many, 9, load())}
    assert decided["delta_kd_efficientnet"] == "worse"


def test_rounding_does_not_drift():
    many = runs(*[1e-12 * k for k in range(6)])
    found = psnr(histories(many, 9, load()))
    assert (found.drift.value, found.drift.error, found.verdict) == (0.0, 0.0, "unchanged")


def test_changes_of_integer_kernels_have_thresholds_too():
    many = [kernels(side(delta=60.0 * k).run) for k in range(6)]
    found = {(s.backend, s.metric): s for s in histories(many, 9, load())}
    for backend in ("simulated", "int8-x86"):
        series = found[backend, "delta_kd_efficientnet"]
        assert (series.verdict, series.failing) == ("worse", True)
        # What stood in full precision at the newest run: 130 under quantization less the change.
        assert series.threshold == pytest.approx(0.03 * abs(130 - (16 + 300)))


@pytest.mark.slow
def test_every_number_that_gates_is_judged_in_the_reports_that_are_kept():
    for folder in run_folders(Path(__file__).parents[2] / "reports"):
        run = read_run(folder)
        found = histories([run] * 4, 9, load())
        assert all(s.verdict == "unchanged" for s in found if s.gated)
        assert not any(s.failing for s in found)
        assert all(s.verdict or s.reason for s in found)


def test_what_could_have_been_judged_and_was_not_fails():
    many = runs(0.0, 0.0, 0.0, 0.0, 0.0)

    def undefined(m):
        return replace(m, value=float("nan")) if m.name.startswith("psnr") else m

    broken = [made(replace(side(), run=many[2]), undefined).run]
    found = psnr(histories([*many[:2], *broken, *many[3:]], 9, load()))
    assert (found.verdict, found.failing) == ("", True)
    assert found.reason == f"undefined in {many[2].id}"


def test_a_cell_that_the_newest_run_could_not_measure_fails():
    many = runs(0.0, 0.0)
    full, quantized = many[1].records
    for status in ("failed", "refused"):
        bad = replace(quantized, status=status, measurements=(), coverage=None, error="broke")
        found = histories([many[0], replace(many[1], records=(full, bad))], 9, load())
        series = psnr(found)
        assert (series.failing, series.reason) == (True, f"{status} in the newest run")
        assert [point.status for point in series.points] == ["ok", status]


def test_a_number_that_was_not_asked_for_is_only_shown():
    many = runs(0.0, 0.0)
    full, quantized = many[1].records
    fewer = [m for m in quantized.measurements if not m.name.startswith("psnr")]
    fewer = replace(many[1], records=(full, replace(quantized, measurements=tuple(fewer))))
    series = psnr(histories([many[0], fewer], 9, load()))
    assert (series.failing, series.reason) == (False, "not measured in the newest run")


def test_runs_left_out_are_counted_by_their_reason():
    many = runs(*[-9.0 * k for k in range(6)])
    many[:5] = [altered(replace(side(), run=run), sha256="b" * 64).run for run in many[:5]]
    series = psnr(histories(many, 9, load()))
    assert series.reason == "too few runs for a line: 1 of 4; 5 not comparable (weights)"
    unit = [made(replace(side(), run=run), lambda m: replace(m, unit="x")).run for run in many]
    series = psnr(histories([*unit[:5], many[5]], 9, load()))
    assert "5 not comparable (weights, unit)" in series.reason


def test_a_number_of_which_no_earlier_run_compares_fails():
    """Another unit in the newest run took its number out of the gate."""
    many = runs(0.0, 0.0, 0.0, 0.0, -9.0)
    many[4] = made(replace(side(), run=many[4]), lambda m: replace(m, unit="x")).run
    series = psnr(histories(many, 9, load()))
    assert (series.verdict, series.failing) == ("", True)
    assert series.reason == "too few runs for a line: 1 of 4; 4 not comparable (unit)"
    assert psnr(histories(many[:4], 9, load())).verdict == "unchanged"


def test_a_run_from_the_cache_is_no_evidence():
    first, other = runs(0.0, 0.1)
    timed = [replace(record, seconds={"sample": 60.0}) for record in first.records]
    first = replace(first, records=tuple(timed))
    copy = replace(first, id="20260109T000000Z-aaaaaaaa")
    assert repeated([first, other, copy]) == [copy]
    fewer = replace(copy, records=copy.records[:1])
    assert repeated([first, fewer]) == []
    # Canned records without times may be alike by chance.
    bare = replace(other, records=tuple(replace(r, seconds={}) for r in other.records))
    assert repeated([bare, replace(bare, id="x")]) == []
