"""The headline ranks by harm, shares ranks where intervals overlap, and ranks nothing twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import canned_run

from bench import report
from bench.core import estimates
from bench.report.headline import headline
from bench.report.ranking import groups
from bench.report.rows import rows
from bench.system.influences import key


def harmed(run, changes, half=0.1):
    """The run with changes of KD by method under w4a8, with intervals."""

    def changed(record):
        method = record.cell.checkpoint.method
        if str(record.cell.scheme) != "w4a8" or method not in changes:
            return record
        found = [
            replace(
                m, value=changes[method], low=changes[method] - half, high=changes[method] + half
            )
            if m.name.startswith("delta_kd")
            else m
            for m in record.measurements
        ]
        return replace(record, measurements=tuple(found))

    return replace(run, records=tuple(map(changed, run.records)))


def w4a8(run, influences=None):
    (found,) = [g for g in groups(rows(run), influences) if str(g.rows[0].scheme) == "w4a8"]
    return found


def renamed(record, name, method=None, seed=0, sha256=None):
    card = record.cell.checkpoint
    card = replace(
        card, name=name, method=method or card.method, seed=seed, sha256=sha256 or "f" * 64
    )
    return replace(record, cell=replace(record.cell, checkpoint=card))


# As in the issue: by PSNR EMA moved least, and it is harmed most.
LOSSES = {"baseline": 4.0, "ema": 8.4, "swa": 4.05, "sam": 1.1}


def test_harm_ranks_and_psnr_does_not(run):
    group = w4a8(harmed(run, LOSSES))
    assert (group.metric, group.harm) == ("kd_change", True)
    assert [e.rows[0].method for e in group.entries] == ["sam", "baseline", "swa", "ema"]
    # Intervals of baseline and swa overlap.
    assert [(e.best, e.worst) for e in group.entries] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    text = "\n".join(headline(rows(harmed(run, LOSSES))))
    assert "**sam is harmed least**; **ema is harmed most**." in text
    assert "- **sam**, rank 1: KD +1.10" in text
    assert "- **swa**, shares ranks 2 to 3: KD +4.05" in text
    assert "no harm by itself" in text
    assert "moved by PSNR 25.30 dB" in text
    assert "comes first" not in text


def test_ties_are_said_to_be_ties(run):
    text = "\n".join(headline(rows(harmed(run, LOSSES, half=9.0))))
    assert "**all tie**, as their intervals overlap" in text
    assert text.count("shares ranks 1 to 4") == 4
    some = harmed(run, {**LOSSES, "sam": 4.02}, half=0.1)
    text = "\n".join(headline(rows(some)))
    assert "**baseline, sam and swa tie for least**; **ema is harmed most**" in text


def test_without_intervals_there_are_no_ranks(run):
    group = w4a8(run)
    assert group.metric == "kd_change"
    assert {entry.best for entry in group.entries} == {None}
    text = "\n".join(headline(rows(run)))
    assert "without intervals it may be noise" in text
    assert "Values with no interval have no rank" in text


def test_the_frechet_distance_ranks_where_no_kernel_distance_was_measured(run):
    def bare(record):
        kept = tuple(m for m in record.measurements if "kd_" not in m.name)
        return replace(record, measurements=kept)

    assert w4a8(replace(run, records=tuple(map(bare, run.records)))).metric == "fd_change"


def test_psnr_ranks_only_how_far_images_moved(run):
    def bare(record):
        kept = tuple(m for m in record.measurements if m.name.startswith(("psnr", "ssim")))
        return replace(record, measurements=kept)

    moved = replace(run, records=tuple(map(bare, run.records)))
    group = w4a8(moved)
    assert (group.metric, group.harm) == ("psnr", False)
    assert [e.rows[0].method for e in group.entries] == ["sam", "swa", "ema", "baseline"]
    text = "\n".join(headline(rows(moved)))
    assert "Ranked by how far the images moved (PSNR)" in text
    assert "**sam moved least**; **baseline moved farthest**." in text


def test_undefined_values_come_last_without_a_rank(run):
    group = w4a8(harmed(run, {**LOSSES, "sam": math.nan}))
    assert group.entries[-1].rows[0].method == "sam"
    assert group.entries[-1].best is None


@pytest.mark.parametrize("sha256", ["a" * 64, "b" * 64])
def test_identical_checkpoints_are_named_and_not_ranked(run, sha256):
    """Those of the same weights, and those of the same numbers whatever their hashes."""
    run = harmed(run, LOSSES)
    copies = [
        renamed(r, "copy", method="sam+ema", sha256=sha256)
        for r in run.records
        if r.cell.checkpoint.method == "sam"
    ]
    first = [
        renamed(r, r.cell.checkpoint.name, sha256="a" * 64)
        if r.cell.checkpoint.method == "sam"
        else r
        for r in run.records
    ]
    if sha256 == "a" * 64:
        copies = [
            replace(r, measurements=tuple(replace(m, value=m.value + 1) for m in r.measurements))
            for r in copies
        ]
    both = replace(run, records=(*first, *copies))
    group = w4a8(both)
    assert [e.rows[0].method for e in group.entries] == ["sam", "baseline", "swa", "ema"]
    assert group.entries[0].same == {"fmnist-sam": ["copy"]}
    assert len(group.members) == 5
    text = "\n".join(headline(rows(both)))
    assert "copy identical to fmnist-sam" in text


def seeds(run):
    """The run with three trainings of sam, whose changes of KD are 1, 2 and 6."""
    run = harmed(run, LOSSES)
    more = []
    for seed, change in ((1, 2.0), (2, 6.0)):
        other = harmed(run, {"sam": change})
        for k, r in enumerate(other.records):
            if r.cell.checkpoint.method == "sam":
                moved = tuple(
                    replace(m, value=m.value + seed / 1000 + k) if m.name.startswith("fd_") else m
                    for m in r.measurements
                )
                r = replace(r, measurements=moved)
                more.append(renamed(r, f"fmnist-seed{seed}-sam", seed=seed, sha256=f"{seed}" * 64))
    return replace(harmed(run, {"sam": 1.0}), records=(*harmed(run, {"sam": 1.0}).records, *more))


def test_trainings_of_a_method_count_once(run):
    group = w4a8(seeds(run))
    (sam,) = [e for e in group.entries if e.rows[0].method == "sam"]
    assert (len(sam.rows), sam.value) == (3, pytest.approx(3.0))
    # Three trainings: how they differ, and the images, whose error does not fall.
    between = estimates.repeated([1.0, 2.0, 6.0])
    widest = estimates.from_interval(6.0, 5.9, 6.1, canned_run.N)
    expected = estimates.total(3.0, (between, widest)).interval()
    assert sam.ends == pytest.approx(expected)
    text = "\n".join(headline(rows(seeds(run))))
    assert "- **sam** (mean of 3 trainings), shares ranks 1 to 4: KD +3.00" in text
    assert "(+1.000, +2.000, +6.000), the trainings differ too much to tell it from 0" in text
    assert "count once, by their mean" in text


def test_influences_make_the_error_of_the_images(run):
    some, noise = seeds(run), np.random.default_rng(0)
    members = [r for r in rows(some) if r.method == "sam" and str(r.scheme) == "w4a8" and r.ok]
    terms = {key(r.cell, r.kd_change.name): noise.standard_normal(canned_run.N) for r in members}
    (sam,) = [e for e in w4a8(some, terms).entries if e.rows[0].method == "sam"]
    values = [r.kd_change.value for r in members]
    assert sam.ends == pytest.approx(estimates.pooled(values, list(terms.values())).interval())


def test_two_checkpoints_of_one_method_and_seed_are_no_trainings(run):
    run = harmed(run, LOSSES)
    other = [
        renamed(r, "other-sam", sha256="c" * 64)
        for r in harmed(run, {"sam": 2.0}).records
        if r.cell.checkpoint.method == "sam"
    ]
    group = w4a8(replace(run, records=(*run.records, *other)))
    assert [len(entry.rows) for entry in group.entries] == [1] * 5


def test_kernels_are_never_merged(run):
    def moved(record):
        if record.coverage is None or record.cell.checkpoint.method != "sam":
            return record
        return replace(record, coverage=replace(record.coverage, kernel="int8"))

    found = groups(rows(replace(run, records=tuple(map(moved, run.records)))))
    assert [(str(g.rows[0].scheme), g.rows[0].kernel, len(g.rows)) for g in found] == [
        ("w8a8", "int8", 1),
        ("w8a8", "simulated", 3),
        ("w4a8", "int8", 1),
        ("w4a8", "simulated", 3),
    ]


def test_changes_of_zero_are_no_certainty(run, tmp_path):
    """Neither in what is written now nor in reports of before, whose interval had no width."""
    for low, high in ((None, None), (0.0, 0.0)):

        def unseen(m, ends=(low, high)):
            if not m.name.startswith("delta_"):
                return m
            return replace(m, value=0.0, low=ends[0], high=ends[1])

        text = report.markdown(canned_run.with_measurements(run, unseen), tmp_path)
        assert "0.00, no change seen in 500 images" in text
        assert "[0.00, 0.00]" not in text
        assert "no change seen in 500 images, no interval yet" not in text
