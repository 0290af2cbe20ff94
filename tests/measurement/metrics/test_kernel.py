from itertools import product

import numpy as np
import pytest

from bench.core import extensions
from bench.core.protocols import Evidence, Features
from bench.measurement.metrics import kernel
from bench.measurement.metrics.kernel import kernel_distance, kernel_sums


def brute_force(x, y):
    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within = sum(k(x[i], x[j]) for i, j in product(range(n), repeat=2) if i != j)
    real = sum(k(y[i], y[j]) for i, j in product(range(m), repeat=2) if i != j)
    across = sum(k(a, b) for a, b in product(x, y))
    return within / (n * (n - 1)) + real / (m * (m - 1)) - 2 * across / (n * m)


def draw(random, count, dimensions=3):
    return random.standard_normal((count, dimensions))


def error(terms):
    """Standard error from the influences."""
    return terms.std(ddof=1) / np.sqrt(len(terms))


def test_by_hand():
    # D = 1, x = {0, 1}, y = {0, 2}: 1 + 1 - 2 (1 + 1 + 1 + 27) / 4.
    value, terms = kernel_distance(np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]]))
    assert value == pytest.approx(-13)
    assert np.isnan(terms).all()


def test_brute_force_value_and_jackknife():
    random = np.random.default_rng(0)
    x, y = draw(random, 7), draw(random, 5) + 1
    value, terms = kernel_distance(x, y)
    assert value == pytest.approx(brute_force(x, y), rel=1e-12)
    left_out = np.array([brute_force(np.delete(x, i, 0), y) for i in range(7)])
    expected = np.sqrt(6 / 7 * np.square(left_out - left_out.mean()).sum())
    assert error(terms) == pytest.approx(expected, rel=1e-10)
    assert terms.mean() == pytest.approx(0, abs=1e-12)


def test_blocks_do_not_matter(monkeypatch):
    random = np.random.default_rng(1)
    x, y = draw(random, 11), draw(random, 8)
    whole = kernel_sums(x, y)
    monkeypatch.setattr(kernel, "ROWS", 3)
    np.testing.assert_allclose(kernel_sums(x, y), whole, rtol=1e-12)


@pytest.mark.parametrize("size", [3, 4, 11, 20])
def test_each_pair_of_blocks_once_gives_the_sums_over_all(size):
    x = draw(np.random.default_rng(3), 11)
    every = kernel._cubic(x, x).sum(1)
    np.testing.assert_allclose(kernel.own_sums(x, kernel._cubic, size), every, rtol=1e-12)


def test_no_bias_on_one_distribution():
    random = np.random.default_rng(2)
    values = [kernel_distance(draw(random, 20), draw(random, 30))[0] for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(400)
    assert min(values) < 0 < max(values)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_interval_covers_the_expected_value(shift):
    random = np.random.default_rng(3)
    real = draw(random, 200)
    many = draw(random, 20_000) + shift
    # Expectation over test images with the real ones held fixed.
    expected = kernel.others(many[:4000]).sum() / (4000 * 3999) + kernel._real_term(real)
    expected -= 2 * kernel_sums(many, real).mean() / 200
    covered = 0
    for _ in range(300):
        value, terms = kernel_distance(draw(random, 60) + shift, real)
        covered += abs(value - expected) < 2 * error(terms)
    assert 0.88 <= covered / 300 <= 1


def test_measurement():
    random = np.random.default_rng(4)
    parts = [draw(random, n) + s for n, s in ((6, 1), (6, 0), (9, 0))]
    features = [Features("toy", 1, v, np.arange(len(v))) for v in parts]
    images = np.zeros((6, 1, 2, 2), np.uint8)
    found = extensions.lookup("metrics", "kernel")()(Evidence(images, images, *features))
    value, terms = kernel_distance(parts[0], parts[2])
    assert (found.name, found.unit, found.paired) == ("kd_toy@6", "1e-3", False)
    assert found.value == pytest.approx(1000 * value)
    # 2.5706: the 97.5% quantile of Student's t with 5 degrees of freedom.
    assert found.high - found.value == pytest.approx(2.5706 * 1000 * error(terms), rel=1e-4)
    two = [Features("toy", 1, v[:2], np.arange(2)) for v in parts]
    found = extensions.lookup("metrics", "kernel")()(Evidence(images[:2], images[:2], *two))
    assert (found.low, found.high) == (None, None)
