"""Digits, shares, escapes and tables."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from helpers.canned_run import measure

from bench.core.estimates import Estimate
from bench.report.formatting import (
    decimal_places,
    escape,
    estimated,
    measured,
    number,
    percent,
    significant,
    size,
    table,
)


@pytest.mark.parametrize(
    ("values", "half", "expected"),
    [
        ([41.27, 29.55], None, 2),
        ([0.0459, 0.0328], 0.0021, 4),
        ([31.2, 33.9], 0.35, 2),
        ([4127.0], 120.0, 0),
        ([0.0], None, 2),
        ([math.nan, math.inf], None, 2),
        ([1e-30], None, 9),
    ],
)
def test_places(values, half, expected):
    assert decimal_places([None, *(measure("fd", value, half) for value in values)]) == expected


def test_number():
    assert number(-0.001, 2, signed=True) == "0.00"
    assert number(1.234, 2, signed=True) == "+1.23"
    assert number(math.nan, 2) == "undefined"
    assert number(math.inf, 2) == "infinite"


def test_measured():
    assert measured(None, 2) == "–"
    assert measured(measure("psnr", 31.2, 0.35), 2, unit="dB") == "31.20 dB [30.85, 31.55]"
    assert measured(measure("psnr", 31.2, None), 1) == "31.2"


def test_percent_never_rounds_up_to_the_whole():
    assert percent(0.99996) == "99.9%"
    assert percent(1.0) == "100.0%"
    assert percent(0.57) == "57.0%"
    assert percent(None) == "–"


def test_size():
    assert (size(530_000), size(4_000_000)) == ("530.0 kB", "4.00 MB")


def test_escape_keeps_a_table_whole():
    assert escape("a | b\n`c` <d>") == "a \\| b \\`c\\` \\<d\\>"


def test_table_is_aligned():
    lines = table(["name", "x"], [["a", "1.00"], ["long name", "10.00"]], left=1)
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| --------- | ----: |"


def test_ends_never_read_alike():
    assert measured(measure("delta_recall", 0.001, 0.0004), 2) == "0.0010 [0.0006, 0.0014]"
    assert measured(measure("delta_recall", 0.0, 0.0), 2) == "0.00, no change seen in 500 images"
    assert measured(measure("delta_recall", 0.0, None), 2) == "0.00, no change seen in 500 images"
    assert measured(measure("ssim", 0.9, 0.0), 2) == "0.90, all 500 images alike"
    assert estimated(Estimate(0.001, 0.0002, 499), 2) == "+0.0010 [+0.0006, +0.0014]"
    assert estimated(Estimate(0.0, 0.0, 499), 2) == "0.00, no scatter"


@pytest.mark.parametrize(
    ("name", "value", "better", "equal"),
    [
        ("psnr", 100.0, "higher", True),
        ("ssim", 1.0, "higher", True),
        ("ssimulacra2", 99.9, "higher", False),
        ("lpips", 0.0, "lower", True),
        ("lpips", 0.01, "lower", False),
        ("ssimulacra2", 0.0, "higher", False),
    ],
)
def test_equal_images_are_told(name, value, better, equal):
    pairs = replace(measure(name, value, None), better=better, paired=True)
    assert measured(pairs, 2).endswith(", equal in all 500 images") is equal
    assert "equal" not in measured(replace(pairs, paired=False), 2)


def test_zero_has_no_sign():
    assert number(-0.0, 2) == number(-0.0, 2, signed=True) == "0.00"
    assert significant(-0.0) == significant(-0.0, signed=True) == "0"
    assert significant(-1234.5, signed=True) == "-1.23e+03"
    assert significant(0.5, signed=True) == "+0.5"
