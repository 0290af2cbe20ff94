"""Drift over canned runs, against the regression line by hand."""

from dataclasses import replace

import numpy as np
import pytest
from gates import altered, side

from bench.history import LEAST, histories
from bench.thresholds import load


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


def test_too_few_runs_have_no_drift():
    found = psnr(histories(runs(*[-3.0 * k for k in range(LEAST - 1)]), 8, load()))
    assert (found.drift, found.verdict) == (None, "")


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
        kept = tuple(m for m in full.measurements if not m.name.startswith("kd"))
        return replace(run, records=(replace(full, measurements=kept), quantized))

    many = [side(delta=3.0 * k).run for k in range(6)]
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
