"""Decided rows of two canned runs whose images' influences are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.gates import altered, made, measurement, run, side

from bench.verdicts import comparison
from bench.verdicts.findings import KINDS
from bench.verdicts.thresholds import Threshold, load

LIMITS = load()


def compare(base, head, limits=LIMITS):
    return comparison.compare(base, head, limits)


def verdicts(found, metric):
    return {row.scheme: row.verdict for row in found.rows if row.metric == metric}


def row_of(found, metric, scheme="w8a8"):
    return next(row for row in found.rows if (row.metric, row.scheme) == (metric, scheme))


def test_a_run_against_itself_is_unchanged():
    found = compare(side(), side())
    assert {row.verdict for row in found.rows if row.gated} == {"unchanged"}
    assert found.findings == {}
    assert found.code(undecided=True) == 0
    assert all(row.change.interval() == (0, 0) for row in found.rows if row.paired)


def test_distances_in_full_precision_and_changes_when_quantized():
    found = compare(side(), side())
    metrics = {(row.scheme, row.metric) for row in found.rows}
    assert metrics == {
        ("fp32", "kd_efficientnet"),
        ("w8a8", "delta_kd_efficientnet"),
        ("w8a8", "psnr"),
        ("w8a8", "fd_twin_efficientnet"),
    }


def test_a_loss_is_worse_in_either_direction():
    found = compare(side(), side(psnr=-1.0, delta=10.0))
    assert verdicts(found, "psnr") == verdicts(found, "delta_kd_efficientnet") == {"w8a8": "worse"}
    assert found.code() == 1
    better = compare(side(psnr=-1.0, delta=10.0), side())
    assert verdicts(better, "psnr") == {"w8a8": "better"}
    assert better.code() == 0


def test_a_significant_but_small_loss_is_unchanged():
    row = row_of(compare(side(), side(psnr=-0.05)), "psnr")
    assert row.adjusted < 0.05
    assert row.change.value == pytest.approx(-0.05)
    assert row.verdict == "unchanged"


def test_pairs_cancel_what_they_share():
    paired = row_of(compare(side(), side(psnr=-0.05)), "psnr")
    bare = replace(side(psnr=-0.05), influences={})
    unpaired = row_of(compare(side(), bare), "psnr")
    assert (paired.paired, unpaired.paired) == (True, False)
    assert "influences of both runs" in unpaired.reason
    width, wide = (np.ptp(row.change.interval()) for row in (paired, unpaired))
    # The own noise of each image has a tenth of the deviation.
    assert wide > 5 * width
    assert unpaired.verdict == "unchanged"


def test_other_noise_is_independent_though_the_terms_are_there():
    row = row_of(compare(side(), side(seed=1)), "psnr")
    assert not row.paired
    assert "other noise" in row.reason
    assert any("seed 0 → 1" in note for note in compare(side(), side(seed=1)).notes)


def test_what_would_decide_decides():
    base, head = side(images=20), side(images=20, psnr=-0.42)
    bare = replace(head, influences={})
    row = row_of(compare(base, bare), "psnr")
    assert row.verdict == "inconclusive"
    assert row.needed > 20
    assert compare(base, bare).code() == 0
    assert compare(base, bare).code(undecided=True) == 3


@pytest.mark.parametrize(
    ("change", "kind", "comparable"),
    [
        ({"sha256": "b" * 64}, "weights", True),
        ({"kernel": "int8"}, "kernel", False),
        ({"macs_quantized": 0}, "coverage", True),
        ({"macs_by_bits": {"w4a8": 90}}, "coverage", True),
        ({"spacing": "linspace"}, "protocol", False),
        ({"guidance": 2.0}, "protocol", False),
        ({"guided_to": 0.5}, "protocol", False),
        ({"steps": 5}, "protocol", False),
        ({"calibration": 10}, "protocol", False),
        ({"dataset": "cifar10"}, "dataset", False),
        ({"real": {"efficientnet": "0" * 64}}, "reference", False),
        ({"version": 2}, "version", False),
    ],
)
def test_what_changed_is_a_finding(change, kind, comparable):
    assert kind in KINDS
    head = altered(side(), **change)
    found = compare(side(), head)
    assert {finding.kind for finding in found.findings} == {kind}
    assert found.code() == 1
    assert found.code(allowed=[kind]) == 0
    gated = {row.verdict for row in found.rows if row.gated and row.scheme == "w8a8"}
    assert gated == ({"unchanged"} if comparable else {"not comparable"})


def test_a_truncated_run_fails():
    short = side()
    short = replace(short, run=replace(short.run, records=short.run.records[:1]))
    found = compare(side(), short)
    assert [row.reason for row in found.failures()] == [comparison.ABSENT]
    assert (found.code(), found.code(allowed=["missing"])) == (1, 0)


def test_what_only_one_run_has_is_absent_or_new():
    full = side().run.records[0]
    other = replace(full.cell, checkpoint=replace(full.cell.checkpoint, name="other"))
    more = replace(side().run, records=(*side().run.records, replace(full, cell=other)))
    found = compare(replace(side(), run=more), side())
    assert [(r.checkpoint, r.verdict, r.reason) for r in found.failures()] == [
        ("other", "absent", comparison.ABSENT)
    ]
    found = compare(side(), replace(side(), run=more))
    assert [r.verdict for r in found.rows if r.checkpoint == "other"] == ["new"]
    assert found.code() == 0


def test_other_kernels_are_not_compared_and_the_reason_has_their_name():
    """As where the fastest kernels are others than they were when the baseline was made."""
    kernels = [
        replace(r, cell=replace(r.cell, backend="int8-x86" if k else r.cell.backend))
        for k, r in enumerate(side().run.records)
    ]
    others = [
        replace(r, cell=replace(r.cell, backend="int8-openvino" if k else r.cell.backend))
        for k, r in enumerate(kernels)
    ]
    base, head = (
        replace(side(), run=replace(side().run, records=tuple(records)))
        for records in (kernels, others)
    )
    found = compare(base, head)
    assert [(row.backend, row.verdict, row.reason) for row in found.failures()] == [
        ("int8-x86", "absent", f"{comparison.ABSENT}, which has int8-openvino of it")
    ]
    assert found.code() == 1


def test_failing_and_fixed_cells():
    full, quantized = side().run.records
    for status in ("failed", "refused"):
        bad = replace(quantized, status=status, coverage=None, measurements=(), error="no kernel")
        broken = replace(side(), run=replace(side().run, records=(full, bad)))
        found = compare(side(), broken)
        assert [(r.verdict, r.reason) for r in found.failures()] == [
            ("newly failing" if status == "failed" else "newly refused", f"{status}: no kernel")
        ]
        assert found.code() == 1
        fixed = compare(broken, side())
        assert {r.verdict for r in fixed.rows} == {"unchanged", "fixed"}
        assert fixed.code() == 0
        assert compare(broken, broken).code() == 0


def test_a_number_that_became_undefined_fails():
    nan = measurement("psnr", float("nan"), None)
    head = made(side(), lambda m: nan if m.name.startswith("psnr") else m)
    row = row_of(compare(side(), head), "psnr")
    assert (row.verdict, row.reason) == ("newly failing", "undefined in HEAD")
    row = row_of(compare(head, side()), "psnr")
    assert (row.verdict, row.reason) == ("not comparable", "undefined in BASE")
    assert compare(head, side()).code() == 1


def test_a_metric_that_is_gone_fails_and_a_new_one_does_not():
    full, quantized = side().run.records
    fewer = replace(quantized, measurements=quantized.measurements[:2])
    head = replace(side(), run=run((full, fewer)))
    assert compare(side(), head).code() == 1
    assert compare(head, side()).code() == 0


def test_only_named_metrics_gate():
    head = side(psnr=-1.0)
    assert compare(side(), head, load(words=["delta_kd"])).code() == 0
    assert compare(side(), head, load(words=["psnr"])).code() == 1
    assert compare(side(), head, load(words=["psnr:2"])).code() == 0


def test_a_number_without_interval_is_never_called_worse():
    limits = [*LIMITS, Threshold("fd_twin_*", absolute=0.1)]
    row = row_of(compare(side(), side(twin=5.0), limits), "fd_twin_efficientnet")
    assert (row.verdict, row.reason) == ("not comparable", "no interval")


def shifted(of, metric, by, factor=1.0):
    """The side with one number moved, and its influences scaled, by less than a user would see."""
    moved = made(of, lambda m: replace(m, value=m.value + by) if m.name == f"{metric}@500" else m)
    terms = {name: t * factor if f"|{metric}@" in name else t for name, t in of.influences.items()}
    return replace(moved, influences=terms)


@pytest.mark.parametrize(("metric", "by"), [("psnr", -2e-9), ("delta_kd_efficientnet", 1e-8)])
def test_rounding_is_no_change(metric, by):
    row = row_of(compare(side(), shifted(side(), metric, by, 1 + 1e-14)), metric)
    assert (row.verdict, row.change.value, row.change.error) == ("unchanged", 0.0, 0.0)
    assert row.adjusted == 1.0


def test_a_tiny_change_beyond_rounding_is_still_tested():
    row = row_of(compare(side(), shifted(side(), "psnr", -1e-6)), "psnr")
    assert (row.verdict, row.change.value) == ("unchanged", pytest.approx(-1e-6))
    assert row.adjusted < 0.001


def test_rounding_is_no_change_without_a_threshold_too():
    moved = shifted(side(), "fd_twin_efficientnet", 1e-13)
    found = compare(side(), moved, [Threshold("psnr", absolute=1.0)])
    row = row_of(found, "fd_twin_efficientnet")
    assert (row.verdict, row.reason) == ("unchanged", "no threshold; no interval")


def without(of, name):
    records = [
        replace(r, measurements=tuple(m for m in r.measurements if m.name != f"{name}@500"))
        for r in of.run.records
    ]
    return replace(of, run=replace(of.run, records=tuple(records)))


def test_a_change_is_no_scale_for_itself():
    bare = without(side(), "kd_efficientnet")
    found = compare(bare, without(side(delta=10.0), "kd_efficientnet"))
    row = row_of(found, "delta_kd_efficientnet")
    assert (row.verdict, row.threshold, row.gated) == ("not comparable", None, True)
    assert row.reason == "the threshold is a share of kd_efficientnet, which BASE lacks"
    assert (found.code(), found.code(["threshold"])) == (1, 0)
    absolute = [*LIMITS, Threshold("delta_kd_*", absolute=2.0)]
    row = row_of(compare(bare, side(delta=10.0), absolute), "delta_kd_efficientnet")
    assert (row.verdict, row.threshold) == ("worse", 2.0)


def test_a_relative_threshold_of_a_change_is_a_share_of_full_precision():
    # 130 under quantization, of which 16 are the change.
    row = row_of(compare(side(), side()), "delta_kd_efficientnet")
    assert row.threshold == pytest.approx(0.03 * (130 - 16))
