"""A quantizer that did nothing: the count of equal images, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import entry_point
from helpers.records import RECORD

from bench.core.images import ImageSet, equal_pairs
from bench.verdicts import findings, unchanged

IDLE = """
from bench.quant.backends.full_precision import FullPrecision

class Idle(FullPrecision):
    def refuses(self, scheme, host):
        return None
"""
IMAGES = RECORD.cell.draw.images


def test_equal_pairs_are_counted_bit_for_bit():
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 4), dtype=np.uint8)
    test = images.copy()
    test[2, 0, 0, 0] ^= 1
    test[5] ^= 1
    sets = [ImageSet.of(x, "a", batch=3) for x in (test, images)]
    assert equal_pairs(*sets) == 5


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (None, ""),
        (0, ""),
        (IMAGES // 10 - 1, ""),
        (IMAGES // 10, f"{IMAGES // 10} of {IMAGES} images (10%) equal"),
        (IMAGES, f"all {IMAGES} images equal"),
    ],
)
def test_what_is_said_of_a_record(count, says):
    assert unchanged.told(replace(RECORD, equal=count)).startswith(says)
    assert bool(unchanged.told(replace(RECORD, equal=count))) == bool(says)


def test_a_comparison_finds_it_once():
    moved, still = (replace(RECORD, equal=count) for count in (0, IMAGES))
    assert [finding.kind for finding in findings.findings(moved, still)] == ["inert"]
    assert findings.findings(still, moved) == []
    assert findings.findings(still, still) == []
    assert "in BASE too" in " ".join(findings.notes(still, still))


def test_a_run_whose_backend_does_nothing_says_so(bench, cards, site, tmp_path):
    points = "[bench.backends]\nidle = idle_backend:Idle\n"
    entry_point.install(site, "idle-backend", points, module="idle_backend", text=IDLE)
    size = ("--images", "4", "--steps", "2", "--batch", "4", "--metrics", "psnr")
    flags = ("--backend", "idle", "--scheme", "w4a8", "--out", tmp_path / "out")
    code, _, err = bench("run", "--cards", cards, *size, *flags)
    assert code == 0
    assert "tiny w4a8 idle: all 4 images equal those in full precision bit for bit" in err
    (path,) = (tmp_path / "out").glob("*/run.json")
    counts = [record["equal"] for record in json.loads(path.read_text())["records"]]
    assert counts == [None, 4]
    page = path.with_name("report.md").read_text(encoding="utf-8")
    assert "## Images that quantization did not change" in page
