"""Differences of differences on canned runs whose influences are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.gates import family

from bench.core.estimates import estimate, pooled
from bench.report.methods import lines
from bench.system.influences import key
from bench.verdicts.methods import ignored, method_comparisons, unmatched


def psnr(found):
    return {c.method: c for c in found if c.metric == "psnr"}


def test_each_method_against_the_baseline():
    run, terms = family(ema=-1.0, baseline=0.0, sam=2.0)
    found = psnr(method_comparisons(run, terms))
    assert {c.against for c in found.values()} == {"baseline"}
    assert found["sam"].estimate.value == pytest.approx(2.0)
    assert (found["sam"].better, found["ema"].better) == ("sam", "baseline")
    names = [key(r.cell, "psnr@500") for r in run.records if not r.cell.scheme.is_float]
    expected = estimate(2.0, terms[names[2]] - terms[names[1]])
    assert found["sam"].estimate.error == pytest.approx(expected.error)


def test_equal_methods_are_not_told_apart():
    run, terms = family(baseline=0.0, sam=0.0)
    assert psnr(method_comparisons(run, terms))["sam"].better == ""
    assert "not told apart" in "\n".join(lines(method_comparisons(run, terms)))


def test_several_trainings_are_pooled():
    run, terms = family(baseline_0=0.0, baseline_1=1.0, sam_0=2.0, sam_1=2.4)
    found = psnr(method_comparisons(run, terms))["sam"]
    assert (found.trainings, found.estimate.value) == (2, pytest.approx(1.7))
    names = {r.cell.checkpoint.name: key(r.cell, "psnr@500") for r in run.records}
    differences = [terms[names[f"sam_{k}"]] - terms[names[f"baseline_{k}"]] for k in (0, 1)]
    assert found.estimate.error == pytest.approx(pooled([2.0, 1.4], differences).error)
    # Two trainings 0.6 apart: the images alone would say far more.
    assert found.better == ""


def test_nothing_is_said_without_influences():
    run, terms = family(baseline=0.0, sam=2.0)
    assert method_comparisons(run, {}) == []
    assert lines([]) == []
    partial = {name: values for name, values in terms.items() if "psnr" in name}
    assert {c.metric for c in method_comparisons(run, partial)} == {"psnr"}


def test_false_alarms_are_few():
    alarms = 0
    for trial in range(100):
        run, terms = family(baseline=0.0, sam=0.0, ema=0.0)
        random = np.random.default_rng(trial)
        noise = {name: values + random.normal(0, 3, 500) for name, values in terms.items()}
        records = []
        for record in run.records:
            measured = tuple(
                replace(m, value=m.value + noise[key(record.cell, m.name)].mean())
                if key(record.cell, m.name) in noise
                else m
                for m in record.measurements
            )
            records.append(replace(record, measurements=measured))
        found = method_comparisons(replace(run, records=tuple(records)), noise)
        alarms += any(c.better for c in found)
    assert alarms <= 10


def of_size(run, terms, **images):
    """The run with another N of the named methods, their influences cut to it."""
    records, cut = [], dict(terms)
    for record in run.records:
        n = images.get(record.cell.checkpoint.method)
        if n:
            cell = replace(record.cell, draw=replace(record.cell.draw, images=n))
            record = replace(record, cell=cell)
            cut |= {key(cell, m.name): np.zeros(n) for m in record.measurements}
        records.append(record)
    return replace(run, records=tuple(records)), cut


def test_one_training_beside_several_is_said_to_speak_of_its_weights():
    run, terms = family(baseline=0.0, baseline_1=0.1, sam=9.0, sam_1=9.1, ema=-9.0)
    table = lines(method_comparisons(run, terms))
    assert any("| ema " in line and "baseline, of these weights" in line for line in table)
    assert not any("| sam " in line and "of these weights" in line for line in table)
    run, terms = family(baseline=0.0, ema=-9.0)
    assert not any("of these weights |" in line for line in lines(method_comparisons(run, terms)))


def test_of_one_method_and_seed_the_first_stands_and_the_other_is_named():
    run, terms = family(baseline=0.0, sam=2.0, ema=1.0)
    cards = {"ema": "sam-large-rho"}
    records = []
    for record in run.records:
        card = record.cell.checkpoint
        if card.name in cards:
            card = replace(card, name=cards[card.name], method="sam", sha256="b" * 64)
        moved = replace(record, cell=replace(record.cell, checkpoint=card))
        terms |= {
            key(moved.cell, m.name): terms[key(record.cell, m.name)]
            for m in record.measurements
            if key(record.cell, m.name) in terms
        }
        records.append(moved)
    both = replace(run, records=tuple(records))
    assert psnr(method_comparisons(both, terms))["sam"].estimate.value == pytest.approx(2.0)
    assert ignored(both) == ["sam-large-rho"]
    assert "sam-large-rho" in lines(method_comparisons(both, terms), (), ignored(both))[-1]
    assert ignored(run) == []
    # Whose quantized cells were refused is not left out for another's sake.
    refused = tuple(
        replace(r, status="refused")
        if r.cell.checkpoint.name == "ema" and not r.cell.scheme.is_float
        else r
        for r in run.records
    )
    assert ignored(replace(run, records=refused)) == []


def test_methods_of_another_n_are_named_instead_of_compared():
    run, terms = of_size(*family(baseline=0.0, ema=-1.0, sam=2.0, swa=1.0), sam=200, swa=200)
    found = method_comparisons(run, terms)
    # Nor is sam set against swa, as if that were what the others stand against.
    assert {(c.method, c.against) for c in found} == {("ema", "baseline")}
    assert [(u.method, u.images, u.others) for u in unmatched(run)] == [
        ("sam", (200,), (500,)),
        ("swa", (200,), (500,)),
    ]
    text = "\n".join(lines(found, unmatched(run)))
    assert "sam (N = 200) against baseline (N = 500), fashion w8a8 simulated" in text
    assert "Left out" in "\n".join(lines([], unmatched(run)))


def test_equal_n_leaves_nothing_out():
    run, _ = family(baseline=0.0, sam=2.0)
    assert unmatched(run) == []
