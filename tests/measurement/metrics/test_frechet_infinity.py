import numpy as np
import pytest

from bench.core.protocols import Evidence, Features
from bench.measurement.metrics.frechet import Frechet
from bench.measurement.metrics.frechet_infinity import FrechetInfinity

NONE = np.zeros((0, 1, 1, 1), np.uint8)


def evidence(x, y):
    sets = [Features("x", 1, v, np.arange(len(v))) for v in (x, y)]
    return Evidence(NONE, NONE, sets[0], sets[0], sets[1])


def test_most_of_the_bias_is_gone():
    random, plain, extrapolated = np.random.default_rng(0), [], []
    real = random.standard_normal((20000, 8))
    for _ in range(40):
        found = evidence(random.standard_normal((200, 8)), real)
        plain.append(Frechet()(found).value)
        extrapolated.append(FrechetInfinity()(found).value)
    # The true distance is 0 but for the draw of the real features.
    assert np.mean(plain) > 0.05
    assert abs(np.mean(extrapolated)) < np.mean(plain) / 5


def test_the_interval_covers_the_true_distance():
    random, covered = np.random.default_rng(1), []
    real = random.standard_normal((20000, 4))
    for _ in range(100):
        # Means 1 apart, deviation 2 against 1, in four dimensions: 1 + 4 = 5.
        x = 2 * random.standard_normal((400, 4)) + np.array([1.0, 0, 0, 0])
        found = FrechetInfinity()(evidence(x, real))
        covered.append(found.low < 5 < found.high)
    assert 0.88 <= np.mean(covered) <= 1


def test_an_odd_image_is_left_out():
    x, y = np.random.default_rng(2).standard_normal((2, 21, 3))
    found, terms = FrechetInfinity().measure(evidence(x, y))
    assert (found.name, found.n, len(terms)) == ("fd_inf_x@20", 20, 20)
    assert found.value == pytest.approx(FrechetInfinity()(evidence(x[:20], y)).value)
