"""Images in units of the floor, where mathematics says how far they moved."""

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.records import RECORD

from bench.core.record import Measurement
from bench.core.scheme import Scheme
from bench.system.influences import key
from bench.verdicts import floors


def record(backend, values, name="psnr", unit="dB", better="higher", scheme=None):
    """A record with one paired metric, and its terms."""
    values = np.asarray(values, np.float64)
    n = len(values)
    cell = replace(RECORD.cell, scheme=scheme or Scheme(), backend=backend)
    cell = replace(cell, draw=replace(cell.draw, images=n))
    number = Measurement(f"{name}@{n}", values.mean(), None, None, n, unit, better, 1, True)
    made = replace(RECORD, cell=cell, measurements=(number,), elsewhere=None)
    return made, {key(cell, number.name): values - values.mean()}


def pair(quantized, floor, **metric):
    w4a8 = Scheme.parse("w4a8")
    one, terms = record("simulated", quantized, scheme=w4a8, **metric)
    other, more = record("float:bf16", floor, **metric)
    return one, other, terms | more


def test_twice_the_error_is_6_02_db():
    noise = np.random.default_rng(0).normal(30, 2, 40)
    one, other, terms = pair(noise - 20 * math.log10(2), noise)
    (ratio,) = floors.ratios(one, other, terms)
    assert (ratio.metric, ratio.images) == ("psnr", 40)
    assert ratio.value == pytest.approx(2)
    # Each image moved twice as far, so there is no scatter and no interval.
    assert ratio.low is None or ratio.low == pytest.approx(2)


def test_the_interval_is_that_of_the_mean_difference_in_db():
    quantized, floor = [24.0, 26.0, 25.0], [31.0, 31.0, 31.0]
    one, other, terms = pair(quantized, floor)
    (ratio,) = floors.ratios(one, other, terms)
    # Mean 6 dB, deviation 1, t of two degrees of freedom 4.302653.
    reach = 4.302653 / math.sqrt(3)
    assert ratio.value == pytest.approx(10 ** (6 / 20))
    assert ratio.low == pytest.approx(10 ** ((6 - reach) / 20), rel=1e-6)
    assert ratio.high == pytest.approx(10 ** ((6 + reach) / 20), rel=1e-6)


@pytest.mark.parametrize(
    ("metric", "quantized", "floor", "expected"),
    [
        ({"name": "ssim", "unit": ""}, [0.7, 0.9, 0.8], [0.9, 0.95, 0.85], 2.0),
        ({"name": "ssimulacra2", "unit": ""}, [40, 60, 50], [90, 92, 88], 5.0),
        ({"name": "lpips", "unit": "", "better": "lower"}, [0.3, 0.1, 0.2], [0.1, 0.05, 0.05], 3),
    ],
)
def test_other_metrics_compare_mean_distances(metric, quantized, floor, expected):
    (ratio,) = floors.ratios(*pair(quantized, floor, **metric))
    assert ratio.value == pytest.approx(expected)
    assert ratio.low < expected < ratio.high


def test_the_delta_method_covers_the_true_ratio():
    """Distances of exponential distribution, of mean 2 and 1, that share half of their scatter."""
    generator, inside = np.random.default_rng(1), 0
    for _ in range(400):
        shared, a, b = generator.exponential(0.5, (3, 200))
        metric = {"name": "lpips", "unit": "", "better": "lower"}
        (ratio,) = floors.ratios(*pair(2 * (shared + a), shared + b, **metric))
        inside += ratio.low < 2 < ratio.high
    # 95%: three standard deviations are 13 of 400.
    assert 367 <= inside <= 395


def test_fewer_images_of_the_floor_are_paired_with_the_first_ones():
    one, other, terms = pair([20.0, 22.0, 24.0, 90.0], [26.0, 28.0, 30.0])
    (ratio,) = floors.ratios(one, other, terms)
    assert (ratio.images, ratio.value) == (3, pytest.approx(10 ** (6 / 20)))


def test_a_floor_that_moved_nothing_is_no_unit():
    metric = {"name": "lpips", "unit": "", "better": "lower"}
    (ratio,) = floors.ratios(*pair([0.1, 0.2, 0.3], [0.0, 0.0, 0.0], **metric))
    assert math.isinf(ratio.value) and ratio.low is None
    assert floors.ratios(*pair([0.0] * 3, [0.0] * 3, **metric)) == []


def test_images_nearer_than_the_floor():
    (ratio,) = floors.ratios(*pair([40.0, 41.0, 42.0], [30.0, 30.5, 31.5]))
    assert floors.is_nearer(ratio) and ratio.value < 1
    (ratio,) = floors.ratios(*pair([29.0, 31.0, 32.0], [30.0, 30.5, 31.5]))
    assert not floors.is_nearer(ratio)


def test_bfloat16_is_the_unit_and_floors_are_of_the_same_noise():
    one, bf16, _ = pair([20.0] * 3, [30.0] * 3)
    batch = replace(bf16, cell=replace(bf16.cell, backend="float:batch"))
    other = replace(bf16, cell=replace(bf16.cell, draw=replace(bf16.cell.draw, seed=9)))
    failed = replace(bf16, status="failed")
    known = floors.floors_of(one, [one, batch, other, failed, bf16])
    assert known == [batch, bf16] and floors.first(known) is bf16
    assert floors.first([]) is None and floors.title(batch) == "float32 in half batches"


def test_how_much_worse_the_floor_is():
    one, bf16, _ = pair([20.0] * 3, [30.0] * 3)
    change = Measurement("delta_kd@3", 0.5, 0.1, 0.9, 3, "", "lower", 1, True)
    bf16 = replace(bf16, measurements=(*bf16.measurements, change))
    assert floors.worsening(one, [one, bf16], "delta_kd") == ("bfloat16", 0.5)
    assert floors.worsening(one, [one], "delta_kd") == ("", None)
    assert floors.worsening(one, [one, bf16], "delta_fd") == ("", None)
