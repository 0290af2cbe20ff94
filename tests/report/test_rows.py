"""Order, links, rankings and verdicts of report rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from helpers import canned_run

from bench.core.scheme import Scheme
from bench.report.rows import interval_verdict, labels, rows, scheme_order, worst


def test_order_is_method_then_full_precision_then_falling_bits(run):
    found = [(row.method, str(row.scheme)) for row in rows(run)]
    assert found[:4] == [("baseline", s) for s in ("fp32", "w8a8", "w4a8", "w2a8")]
    assert list(dict.fromkeys(method for method, _ in found)) == ["baseline", "ema", "swa", "sam"]


def test_scheme_order():
    texts = ["w3a8", "w4a8", "w6a6", "fp32", "w8a8"]
    ordered = sorted(map(Scheme.parse, texts), key=scheme_order)
    assert list(map(str, ordered)) == ["fp32", "w8a8", "w6a6", "w4a8", "w3a8"]


def test_unknown_methods_come_last_and_combinations_in_any_order(run):
    names = {"sam": "ema+sam", "baseline": "zebra"}

    def renamed(record):
        card = record.cell.checkpoint
        card = replace(card, method=names.get(card.method, card.method))
        return replace(record, cell=replace(record.cell, checkpoint=card))

    changed = replace(run, records=tuple(map(renamed, run.records)))
    methods = list(dict.fromkeys(row.method for row in rows(changed)))
    assert methods == ["ema", "swa", "ema+sam", "zebra"]


def test_each_quantized_row_is_linked_to_its_own_reference(run):
    for row in rows(run):
        if row.scheme.is_float:
            assert row.reference is None
        else:
            assert row.reference.scheme.is_float and row.reference.checkpoint == row.checkpoint


def test_a_run_without_references_has_rows_without_links(run):
    records = tuple(r for r in run.records if not r.cell.scheme.is_float)
    assert all(row.reference is None for row in rows(replace(run, records=records)))


def test_worst(run):
    row, measurement = worst(rows(run))
    assert (row.method, str(row.scheme), measurement.value) == ("baseline", "w4a8", 19.4)
    assert worst([]) is None


@pytest.mark.parametrize(
    ("value", "half", "better", "expected"),
    [
        (-1.0, None, "lower", "open"),
        (-1.0, 2.0, "lower", "unclear"),
        (-1.0, 1.0, "lower", "unclear"),
        (-1.0, 0.5, "lower", "better"),
        (1.0, 0.5, "lower", "worse"),
        (1.0, 0.5, "higher", "better"),
        (-1.0, 0.5, "higher", "worse"),
        (math.nan, None, "lower", "undefined"),
        (1.0, math.nan, "lower", "open"),
        (0.0, None, "lower", "unseen"),
        (0.0, 0.0, "lower", "unseen"),
        (1.0, 0.0, "lower", "open"),
    ],
)
def test_verdict(value, half, better, expected):
    assert interval_verdict(canned_run.measure("delta_fd", value, half, better)) == expected


def test_labels_are_methods_where_unique(run):
    found = rows(run)
    assert labels(found)["fmnist-sam"] == "sam"
    twice = [*found, replace(found[0], checkpoint="other-baseline")]
    assert labels(twice)["fmnist-sam"] == "fmnist-sam"
