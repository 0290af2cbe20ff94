import numpy as np
import pytest

from bench.core import extensions
from bench.core.protocols import Evidence, Features
from bench.measurement.metrics.precision_recall import accounted, radii, squares

NAMES = ("precision", "recall", "density", "coverage")
REAL = np.arange(10.0)[:, None]


def measure(name, x, y):
    none = np.zeros((0, 1, 1, 1), np.uint8)
    sets = [Features("x", 1, np.asarray(v, np.float64), np.arange(len(v))) for v in (x, y)]
    return extensions.lookup("metrics", name)().measure(
        Evidence(none, none, sets[0], sets[0], sets[1])
    )


def test_distances_and_radii_of_a_line():
    np.testing.assert_allclose(squares(REAL, REAL)[0, :3], [0, 1, 4])
    # The third nearest of the ends is 3 away, of inner points 2.
    np.testing.assert_allclose(radii(REAL, 3)[[0, 1, 5]], [9, 4, 4])


def test_by_hand():
    # Inside, at the edge, and far outside of ten points on a line.
    x = np.array([[4.5], [0.0], [100.0], [101.0], [102.0], [103.0]])
    assert measure("precision", x, REAL)[0].value == pytest.approx(2 / 6)
    density = measure("density", x, REAL)[0].value
    reach = np.sqrt(radii(REAL, 5))
    counts = [(abs(REAL[:, 0] - v) <= reach).sum() for v in x[:, 0]]
    assert density == pytest.approx(np.mean(counts) / 5)
    covered = [min(abs(x[:, 0] - y)) <= r for y, r in zip(REAL[:, 0], reach, strict=True)]
    assert measure("coverage", x, REAL)[0].value == np.mean(covered)


def test_the_same_set_is_perfect():
    x = np.random.default_rng(0).standard_normal((60, 4))
    for name in ("precision", "recall", "coverage"):
        found, terms = measure(name, x, x)
        assert found.value == 1
        assert found.better == "higher"
        assert len(terms) == 60


def test_fidelity_and_variety_are_told_apart():
    random = np.random.default_rng(0)
    real = random.standard_normal((400, 3))
    narrow, wide = 0.2 * random.standard_normal((200, 3)), 4 * random.standard_normal((200, 3))
    values = {name: [measure(name, x, real)[0].value for x in (narrow, wide)] for name in NAMES}
    assert values["precision"][0] > 0.95 > 0.6 > values["precision"][1]
    assert values["density"][0] > values["density"][1]
    assert values["recall"][0] < 0.2 < values["recall"][1]


def test_jackknife_is_leaving_one_out():
    random = np.random.default_rng(1)
    within = random.random((12, 30)) < 0.1
    value, terms = accounted(within)
    left_out = np.array([np.delete(within, i, 0).any(0).mean() for i in range(12)])
    assert value == within.any(0).mean()
    np.testing.assert_allclose(terms, 11 * (left_out.mean() - left_out))


def test_terms_of_means_are_exact():
    random = np.random.default_rng(2)
    x, y = random.standard_normal((40, 3)), random.standard_normal((90, 3))
    found, terms = measure("precision", x, y)
    hits = (squares(x, y) <= radii(y, 3)).any(1)
    np.testing.assert_allclose(terms, hits - hits.mean())
    assert found.low < found.value < found.high


def test_a_change_of_precision_that_no_image_shows_is_no_certainty():
    ends = extensions.lookup("metrics", "precision")().change_ends
    low, high = ends(0.0, np.zeros(500))
    assert -0.007 < low < 0 < high < 0.007
    lost = np.repeat([-1.0, 0.0], [5, 495])
    low, high = extensions.lookup("metrics", "precision")().change_ends(
        lost.mean(), lost - lost.mean()
    )
    assert low < lost.mean() < high


def test_shares_that_no_image_alone_accounts_for_have_no_interval():
    x = np.repeat(REAL, 3, axis=0) + np.tile([0.0, 0.01, 0.02], 10)[:, None]
    for name in ("recall", "coverage"):
        found, terms = measure(name, x, REAL)
        assert (found.value, found.low, found.high) == (1.0, None, None)
        assert not terms.any()
