import math

import numpy as np
import pytest

from bench.core import distances, extensions
from bench.core.protocols import Evidence, Features
from bench.measurement.metrics.inception_score import SPLIT, score


def measured(p):
    features = Features("inception-classes", 1, p, np.arange(len(p)))
    images = np.zeros((len(p), 1, 2, 2), np.uint8)
    return extensions.lookup("metrics", "inception_score")().measure(
        Evidence(images, images, features, features)
    )


def test_certain_and_even_classes_give_their_number():
    value, terms = score(np.eye(5).repeat(3, 0))
    assert value == pytest.approx(5)
    np.testing.assert_allclose(terms, 0, atol=1e-12)


def test_equal_images_give_one():
    assert score(np.full((4, 10), 0.1))[0] == pytest.approx(1)


def test_two_classes_in_closed_form():
    # Half of the images say (1, 0), half (1/2, 1/2): p(y) = (3/4, 1/4).
    p = np.array([[1.0, 0.0], [0.5, 0.5]])
    kl = (math.log(4 / 3), 0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    value, terms = score(p)
    assert value == pytest.approx(math.exp(sum(kl) / 2))
    np.testing.assert_allclose(terms, value * (np.array(kl) - sum(kl) / 2))


def test_the_influence_is_the_derivative():
    p = np.random.default_rng(0).dirichlet(np.ones(6), 50)
    value, terms = score(p)
    # One image repeated in a thousand copies of the set.
    more = np.concatenate([np.tile(p, (1000, 1)), p[7:8]])
    assert (score(more)[0] - value) * len(more) == pytest.approx(terms[7], rel=1e-2)


def test_splits_are_averaged_and_named():
    random = np.random.default_rng(1)
    p = random.dirichlet(np.full(8, 0.3), SPLIT + 100)
    found, terms = measured(p)
    expected = np.mean([score(p[:SPLIT])[0], score(p[SPLIT:])[0]])
    assert found.value == pytest.approx(expected)
    assert (found.name, found.better) == (f"is@{SPLIT + 100}", "higher")
    assert found.low < found.value < found.high
    assert terms.mean() == pytest.approx(0, abs=1e-9)
    assert distances.kind("inception-classes") == "classes"
