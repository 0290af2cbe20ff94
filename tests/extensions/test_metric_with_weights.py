"""A metric of another package with weights of its own: a module, a file and an entry point.

Its hash of the weights enters the keys, so that an edit of them measures anew and samples nothing.
"""

import json

import numpy as np
import pytest
from helpers.entry_point import install
from PIL import Image

# A distance of images by filters, as perceptual ones have them: the mean square of the difference
# of what each filter of the weights (F, H, W) gives on an image and on its twin.
MODULE = """
import hashlib
from pathlib import Path

import numpy as np

from bench.core.estimates import interval
from bench.core.record import Measurement

WEIGHTS = Path(__file__).with_name("filters.npy")


class Filtered:
    better, version, least, paired = "lower", 1, 2, True
    kinds = ()
    needs = ""

    @staticmethod
    def identity():
        return {"weights": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()}

    def __call__(self, evidence):
        return self.measure(evidence)[0]

    def measure(self, evidence):
        filters = np.load(WEIGHTS)
        values = np.empty(len(evidence.images))
        for start in range(0, len(values), 64):
            rows = slice(start, start + 64)
            images = evidence.images[rows].astype(np.float64)
            seen = np.einsum("fhw,nchw->nfc", filters, images - evidence.twin_images[rows])
            values[rows] = np.square(seen).mean((1, 2))
        value, terms, n = float(values.mean()), values - values.mean(), len(values)
        ends = interval(value, terms)
        return Measurement(f"filtered@{n}", value, *ends, n, "", "lower", 1, paired=True), terms
"""
SIZES = ("--scheme", "w4a8", "--backend", "simulated", "--checkpoints", "*", "--images", "4")
SIZES += ("--steps", "1", "--batch", "4", "--metrics", "filtered,psnr")


def measured(out):
    """The newest run's quantized record, and its value of the metric."""
    path = max(out.glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    record = json.loads(path.read_text())["records"][1]
    (value,) = (m["value"] for m in record["measurements"] if m["name"] == "filtered@4")
    return record, value, path.parent


def test_a_metric_with_weights_of_its_own(site, bench, cards, cache, tmp_path):
    points = "[bench.metrics]\nfiltered = filtered:Filtered\n"
    install(site, "filtered-metric", points, "0.3", "filtered", MODULE)
    filters = np.zeros((1, 28, 28))
    filters[0, :14] = 1.0
    np.save(site / "filters.npy", filters)
    out = tmp_path / "out"
    words = ("run", *SIZES, "--cards", cards, "--out", out)
    code, _, stderr = bench(*words)
    assert code == 0, stderr
    record, value, folder = measured(out)
    versions = record["host"]["versions"]
    assert versions["metrics filtered package"] == "filtered-metric 0.3"
    assert len(versions["metrics filtered weights"]) == 64
    # From the strips of the report: all four images of the cell and of full precision.
    strips = [np.asarray(Image.open(path), np.float64) for path in folder.glob("samples/*.png")]
    difference = (strips[0] - strips[1]).reshape(28, 4, 28).transpose(1, 0, 2)
    assert value == pytest.approx(np.square(difference[:, :14].sum((1, 2))).mean())
    # The same again computes nothing; it is in the report and in the influences.
    assert "2 of 2 cells came from the cache" in bench(*words)[2]
    assert "tiny w4a8 simulated|filtered@4" in np.load(folder / "influences.npz")

    images = {path: path.stat().st_mtime_ns for path in cache.glob("images/*/*.npy")}
    np.save(site / "filters.npy", 3 * filters)
    code, _, stderr = bench(*words)
    assert code == 0 and "came from the cache" not in stderr
    again, other, _ = measured(out)
    assert other == pytest.approx(9 * value)
    stated = again["host"]["versions"]["metrics filtered weights"]
    assert stated != versions["metrics filtered weights"]
    assert {path: path.stat().st_mtime_ns for path in cache.glob("images/*/*.npy")} == images
