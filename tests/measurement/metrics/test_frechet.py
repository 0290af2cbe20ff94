import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core import extensions
from bench.core.estimates import interval
from bench.core.protocols import Evidence, Features
from bench.measurement.features.moments import statistics
from bench.measurement.metrics.frechet import factor, frechet_distance, influence, twin_distance


def wishart(random, dimensions, count):
    x = random.standard_normal((count, dimensions)) @ random.standard_normal(
        (dimensions, dimensions)
    )
    return x.mean(0), np.cov(x, rowvar=False)


def test_closed_form_of_commuting_gaussians():
    # |mu|^2 = 25; per axis (sigma_1 - sigma_2)^2 = 1, 4, 9.
    mu_2, sigma_1, sigma_2 = np.array([3.0, 0, 4]), np.diag([1.0, 4, 16]), np.diag([4.0, 16, 49])
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = [rotation @ s @ rotation.T for s in (sigma_1, sigma_2)]
    assert frechet_distance(np.zeros(3), sigma_1, mu_2, sigma_2) == pytest.approx(39, rel=1e-12)
    assert frechet_distance(np.zeros(3), turned[0], mu_2, turned[1]) == pytest.approx(
        39, rel=1e-12
    )


def test_closed_form_in_two_dimensions():
    # Tr (S1 S2)^{1/2} = sqrt(Tr S1 S2 + 2 sqrt(det S1 S2)) for 2 x 2.
    sigma_1, sigma_2 = np.array([[2.0, 1], [1, 2]]), np.array([[3.0, -1], [-1, 1]])
    product = sigma_1 @ sigma_2
    cross = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = 8 - 2 * cross
    assert frechet_distance(np.zeros(2), sigma_1, np.zeros(2), sigma_2) == pytest.approx(expected)


def test_rank_one_covariances():
    # S = a a^T and b b^T: Tr (S1 S2)^{1/2} = |a.b|.
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 40))
    value = frechet_distance(np.zeros(40), np.outer(a, a), np.zeros(40), np.outer(b, b))
    assert value == pytest.approx(a @ a + b @ b - 2 * abs(a @ b), rel=1e-9)
    assert factor(np.outer(a, a)).shape == (40, 1)


def test_fewer_images_than_dimensions():
    random = np.random.default_rng(1)
    x, y = random.standard_normal((2, 20, 100))
    centred = [(v - v.mean(0)) / np.sqrt(19) for v in (x, y)]
    # The nuclear norm of A B^T is Tr (S1 S2)^{1/2}.
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    spread = sum(np.square(c).sum() for c in centred)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + spread - 2 * cross
    assert frechet_distance(*statistics(x), *statistics(y)) == pytest.approx(expected, rel=1e-8)


def test_zero_covariance():
    zero = np.zeros((3, 3))
    assert frechet_distance(np.zeros(3), zero, np.ones(3), np.eye(3)) == pytest.approx(6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(2, 30), st.integers(0, 1000))
def test_symmetric_and_zero_on_itself(dimensions, count, seed):
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((2, count, dimensions))
    one, other = statistics(x), statistics(y + 1)
    forth, back = frechet_distance(*one, *other), frechet_distance(*other, *one)
    assert forth == pytest.approx(back, rel=1e-6, abs=1e-6)
    assert forth > -1e-6
    assert frechet_distance(*one, *one) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dimensions", [64, pytest.param(2048, marks=pytest.mark.slow)])
def test_equals_clean_fid(dimensions):
    from cleanfid.fid import frechet_distance as clean_fid

    random = np.random.default_rng(dimensions)
    one, other = (wishart(random, dimensions, 3 * dimensions) for _ in range(2))
    assert frechet_distance(*one, *other) == pytest.approx(clean_fid(*one, *other), rel=1e-6)


def evidence(values, twins, real):
    images = np.zeros((len(values), 1, 2, 2), np.uint8)
    features = [Features("toy", 1, v, np.arange(len(v))) for v in (values, twins, real)]
    return Evidence(images, images, *features)


def test_measurements():
    values = np.array([[0.0], [2.0]])
    twins, real = values + 3, 2 * values
    plain = extensions.lookup("metrics", "frechet")()(evidence(values, twins, real))
    twin = extensions.lookup("metrics", "frechet_twin")()(evidence(values, twins, real))
    assert (plain.name, plain.paired, plain.better, plain.n) == ("fd_toy@2", False, "lower", 2)
    assert (twin.name, twin.paired) == ("fd_twin_toy@2", True)
    # Means 1 and 2, deviations sqrt 2 and 2 sqrt 2.
    assert plain.value == pytest.approx(1 + 2)
    assert twin.value == pytest.approx(9)
    # Two images have no interval.
    assert (twin.low, twin.high) == (None, None)


def weighted_distance(values, weights, mu_2, sigma_2):
    """Distance of the Gaussian of weighted images."""
    mu = weights @ values
    centred = values - mu
    return frechet_distance(mu, (weights * centred.T) @ centred, mu_2, sigma_2)


def test_influence_is_the_derivative_by_weight():
    """d/dh of the distance with the weights (1 - h) / N, and h more for image i."""
    random = np.random.default_rng(5)
    count, step = 4000, 1e-6
    values = random.standard_normal((count, 3)) @ random.standard_normal((3, 3)) + 0.5
    other = wishart(random, 3, 9)
    found = influence(values, *other)
    even = np.full(count, 1 / count)
    for i in range(4):
        derivative = 0.0
        for sign in (1, -1):
            weights = (1 - sign * step) * even
            weights[i] += sign * step
            derivative += sign * weighted_distance(values, weights, *other) / (2 * step)
        assert found[i] == pytest.approx(derivative, rel=2e-3, abs=2e-3)
    assert found.mean() == pytest.approx(0, abs=1e-10)


def test_influence_where_images_are_fewer_than_dimensions():
    random = np.random.default_rng(6)
    terms = influence(random.standard_normal((10, 40)), *wishart(random, 40, 200))
    assert np.isfinite(terms).all()
    assert terms.std() > 0


@pytest.mark.parametrize("paired", [False, True])
def test_interval_covers_the_expected_value_at_this_n(paired):
    """Of the distance, and of the change from a set to a noisier twin; real images held fixed."""
    random = np.random.default_rng(7)
    real = statistics(random.standard_normal((400, 4)))
    found = []
    for _ in range(300):
        x = 1.2 * random.standard_normal((80, 4)) + 0.3
        y = x + 0.4 * random.standard_normal(x.shape) if paired else x
        value, terms = frechet_distance(*statistics(y), *real), influence(y, *real)
        if paired:
            value -= frechet_distance(*statistics(x), *real)
            terms = terms - influence(x, *real)
        found.append((value, *interval(value, terms)))
    values, low, high = np.array(found).T
    covered = np.mean((low < values.mean()) & (values.mean() < high))
    assert 0.91 <= covered <= 0.99


def test_influence_of_a_pair_is_the_derivative_by_its_weight():
    """Both images of a pair take the weight at once."""
    random = np.random.default_rng(8)
    count, step = 4000, 1e-6
    twins = random.standard_normal((count, 3)) @ random.standard_normal((3, 3))
    values = 0.8 * twins + 0.3 * random.standard_normal((count, 3)) + 0.2
    distance, found = twin_distance(values, twins)
    assert distance == pytest.approx(frechet_distance(*statistics(values), *statistics(twins)))
    even = np.full(count, 1 / count)
    for i in range(4):
        derivative = 0.0
        for sign in (1, -1):
            weights = (1 - sign * step) * even
            weights[i] += sign * step
            mu = weights @ twins
            sigma = (weights * (twins - mu).T) @ (twins - mu)
            derivative += sign * weighted_distance(values, weights, mu, sigma) / (2 * step)
        assert found[i] == pytest.approx(derivative, rel=2e-3, abs=2e-3)


def test_a_common_shift_has_no_error_and_equal_sets_are_zero():
    values = np.random.default_rng(9).standard_normal((50, 4))
    distance, terms = twin_distance(values + 2, values)
    assert distance == pytest.approx(4 * 4)
    np.testing.assert_allclose(terms, 0, atol=1e-9)
    distance, terms = twin_distance(values, values)
    assert distance == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(terms, 0, atol=1e-9)


@pytest.mark.parametrize("noise", [0.01, 0.5])
def test_the_interval_of_the_distance_to_the_twins_covers_its_expectation(noise):
    """Near its boundary at zero and far from it."""
    random, found = np.random.default_rng(10), []
    for _ in range(200):
        twins = random.standard_normal((200, 4))
        value, terms = twin_distance(twins + noise * random.standard_normal((200, 4)), twins)
        found.append((value, *interval(value, terms)))
    values, low, high = np.array(found).T
    covered = np.mean((low < values.mean()) & (values.mean() < high))
    assert covered >= 0.91
    # No wider than three times what it must be.
    assert np.mean(high - low) < 3 * 2 * 1.96 * values.std(ddof=1)
