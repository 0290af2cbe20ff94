import numpy as np
import pytest

from bench.core import extensions
from bench.core.protocols import Evidence, Features
from bench.measurement.metrics import cmmd
from bench.measurement.metrics.cmmd import discrepancy, kernel_sums


def brute_force(x, y):
    """The paper's formula: means over whole Gram matrices, diagonals included."""

    def gram(a, b):
        return np.exp(-np.square(a[:, None] - b[None]).sum(2) / (2 * 10.0**2))

    return gram(x, x).mean() + gram(y, y).mean() - 2 * gram(x, y).mean()


def unit(random, count, shift=0.0, dimensions=4):
    found = random.standard_normal((count, dimensions)) + shift
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def error(terms):
    return terms.std(ddof=1) / np.sqrt(len(terms))


def test_by_hand():
    # x = {0, 10}, y = {0, 10 sqrt(2)}: |x - x'|^2 = 100, |y - y'|^2 = 200.
    a, b, c = np.exp(-0.5), np.exp(-1.0), np.exp(-((np.sqrt(2) - 1) ** 2) / 2)
    value, _ = discrepancy(np.array([[0.0], [10.0]]), np.array([[0.0], [10 * np.sqrt(2)]]))
    expected = (2 + 2 * a) / 4 + (2 + 2 * b) / 4 - 2 * (1 + b + a + c) / 4
    assert value == pytest.approx(expected, rel=1e-12)


def test_brute_force_value_and_jackknife():
    random = np.random.default_rng(0)
    x, y = unit(random, 7), unit(random, 5, 1.0)
    value, terms = discrepancy(x, y)
    assert value == pytest.approx(brute_force(x, y), rel=1e-10)
    assert discrepancy(y, y)[0] == pytest.approx(0, abs=1e-15)
    left_out = np.array([brute_force(np.delete(x, i, 0), y) for i in range(7)])
    np.testing.assert_allclose(terms, 6 * (left_out.mean() - left_out), rtol=1e-8, atol=1e-15)


def test_blocks_do_not_matter(monkeypatch):
    random = np.random.default_rng(1)
    x, y = unit(random, 11), unit(random, 8)
    whole = kernel_sums(x, y)
    monkeypatch.setattr(cmmd, "ROWS", 3)
    np.testing.assert_allclose(kernel_sums(x, y), whole, rtol=1e-12)


def test_intervals_cover_the_expectation_at_their_n():
    random, n = np.random.default_rng(2), 60
    real = unit(random, 200)
    many = unit(random, 4000, 0.5)
    moved = many + 0.1 * random.standard_normal(many.shape)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)

    def expected(x):
        across = 2 * kernel_sums(x, real).mean() / 200
        within = (kernel_sums(x, x).sum() - len(x)) / (len(x) * (len(x) - 1))
        return within + (1 - within) / n + cmmd._real_term(real) - across

    goal, change = expected(many), expected(moved) - expected(many)
    covered = np.zeros(2)
    for _ in range(300):
        chosen = random.choice(4000, n, replace=False)
        value, terms = discrepancy(many[chosen], real)
        other, other_terms = discrepancy(moved[chosen], real)
        covered += [
            abs(value - goal) < 2 * error(terms),
            abs(other - value - change) < 2 * error(other_terms - terms),
        ]
    assert (covered / 300 > 0.9).all() and (covered / 300 < 0.995).all()


def test_measurement():
    random = np.random.default_rng(4)
    parts = [unit(random, n, s) for n, s in ((6, 1), (6, 0), (9, 0))]
    features = [Features("clip", 1, v, np.arange(len(v))) for v in parts]
    images = np.zeros((6, 1, 2, 2), np.uint8)
    found = extensions.lookup("metrics", "cmmd")()(Evidence(images, images, *features))
    value, terms = discrepancy(parts[0], parts[2])
    assert (found.name, found.unit, found.n) == ("cmmd@6", "1e-3", 6)
    assert found.value == pytest.approx(1000 * value)
    # 2.5706: the 97.5% quantile of Student's t with 5 degrees of freedom.
    assert found.high - found.value == pytest.approx(2.5706 * 1000 * error(terms), rel=1e-4)
