"""The page that plans large runs says what its script makes of the reports that it names."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# About 9 minutes of the kernel distance for a set, in seconds for a million pairs of images.
PAIRS = 9 * 60 / 50**2


@pytest.fixture
def planning(monkeypatch):
    """The script, as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("plan")


@pytest.mark.parametrize(("machines", "workers", "price"), [(8, 16, 4), (64, 16, 0.5)])
def test_the_plans_are_those_of_the_reports(planning, machines, workers, price):
    page = (ROOT / "docs" / "howto" / "scale.md").read_text()
    (line,) = re.findall(rf"(?m)^\| {machines} .*$", page)
    run = re.search(r"reports/([\w-]+)/report\.md", line)[1]
    full, quantized = planning.kinds(ROOT / "reports" / run)
    images = f"{1e3 * full.image:.1f} and {1e3 * quantized.image:.1f} ms an image"
    plan = planning.Plan(50_000, 19, 6, machines * workers)
    hours = plan.hours(full, quantized, PAIRS)
    for words in (
        images,
        f"| {quantized.images:.0f} s |",
        f"| {hours:.1f} h |",
        f"{hours * machines * price:.0f} at {price} for",
    ):
        assert words in line


def test_a_plan_in_closed_form(planning):
    """One checkpoint, one scheme, 1,000 images, 2 workers: 1,000 and 3,000 s of images are shared,
    each worker makes ready and measures one of the two sets."""
    full, quantized = planning.Measured(1.0, 5.0), planning.Measured(3.0, 10.0)
    plan = planning.Plan(1000, 1, 1, 2)
    assert plan.hours(full, quantized, 7.0) * 3600 == pytest.approx(4000 / 2 + 10 + 7)
    # Of four workers two wait for the calibration.
    plan = planning.Plan(1000, 1, 1, 4)
    assert plan.hours(full, quantized, 7.0) * 3600 == pytest.approx(4000 / 4 + 10 + 7 + 10)


def test_medians_are_of_records_with_images(planning, tmp_path):
    def record(backend, status, **seconds):
        cell = {"backend": backend, "draw": {"images": 10}}
        return {"cell": cell, "status": status, "seconds": seconds}

    records = [record("float", "ok", load=1.0, sample=20.0, features=5.0, metrics=5.0)]
    records += [record("int8-x86", "ok", quantize=s, sample=s) for s in (10.0, 20.0, 90.0)]
    records += [record("int8-x86", "refused"), record("simulated", "failed", sample=1e9)]
    (tmp_path / "run.json").write_text(json.dumps({"records": records}))
    full, quantized = planning.kinds(tmp_path)
    assert (full.image, full.images) == (3.0, 1.0)
    assert (quantized.image, quantized.images) == (2.0, 20.0)
