import numpy as np
import pytest

from bench import tables
from bench.metrics import precision_recall
from bench.metrics.precision_recall import radii, squared_distances, within
from bench.protocols import Evidence, Features

REAL = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]])


def measured(name, test, real=REAL):
    images = np.zeros((len(test), 1, 2, 2), np.uint8)
    found, known = (Features("toy", 1, v, np.arange(len(v))) for v in (test, real))
    return tables.lookup("metrics", name)().measure(Evidence(images, images, found, found, known))


def test_squared_distances():
    found = squared_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[25, 0]])


def test_radii_reach_to_the_third_neighbour():
    # From 0: 1, 2, 3. From 1: 0, 2 and 3. From 10: 3, 2, 1.
    np.testing.assert_allclose(radii(REAL), [9, 4, 4, 9, 81])


def test_within_counts_the_edge():
    reach = radii(REAL)
    test = np.array([[-3.0], [-3.1], [19.0], [19.1], [0.5]])
    assert within(test, REAL, reach).tolist() == [True, False, True, False, True]


def test_precision_and_recall_on_a_line():
    test = np.array([[0.0], [0.1], [0.2], [0.3]])
    precision, terms = measured("precision", test)
    assert (precision.value, precision.name) == (1.0, "precision_toy@4")
    assert terms.tolist() == [0] * 4
    # Radii of 0.3, 0.2, 0.2, 0.3 about 0 to 0.3 hold 0 alone of the real images.
    recall, terms = measured("recall", test)
    assert recall.value == pytest.approx(1 / 5)
    assert (recall.low, recall.high) == (None, None)
    assert np.isnan(terms).all()


def test_precision_has_the_interval_of_a_share():
    test = np.array([[0.5]] * 6 + [[-50.0]] * 2)
    precision, terms = measured("precision", test)
    assert precision.value == 0.75
    assert precision.low < 0.75 < precision.high
    assert terms.sum() == pytest.approx(0)


def test_the_same_distribution_covers_itself():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 400, 4))
    for name in ("precision", "recall"):
        assert measured(name, one, other)[0].value > 0.9
        assert measured(name, one + 100, other)[0].value == 0


def test_many_real_images_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr(precision_recall, "REAL", 100)
    real = np.arange(250, dtype=float)[:, None]
    images = np.zeros((1, 1, 2, 2), np.uint8)
    found = Features("toy", 1, real, np.arange(250))
    rows = precision_recall.real_rows(Evidence(images, images, found, found, found))
    assert rows[:, 0].tolist() == list(range(0, 250, 3))
