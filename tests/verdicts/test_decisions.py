import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.estimates import Estimate
from bench.verdicts.decisions import decide, equivalent, holm, needed, two_sided

MANY = 10_000


def told(value, error, threshold=1.0, tests=1):
    found = Estimate(value, error, MANY)
    return decide(found, threshold, min(1.0, tests * two_sided(found)))


@pytest.mark.parametrize(
    ("value", "error", "verdict"),
    [
        (2.0, 0.5, "worse"),
        (-2.0, 0.5, "better"),
        (0.1, 0.2, "unchanged"),
        # Significant, but smaller than what matters.
        (0.5, 0.1, "unchanged"),
        (0.9, 0.3, "inconclusive"),
        # Large, but not significant.
        (2.0, 1.5, "inconclusive"),
        (0.0, 1.0, "inconclusive"),
        (0.0, 0.0, "unchanged"),
        (3.0, 0.0, "worse"),
    ],
)
def test_effect_and_significance(value, error, verdict):
    assert told(value, error) == verdict


def test_identical_runs_are_unchanged_under_a_threshold_of_zero():
    assert told(0.0, 0.0, threshold=0.0) == "unchanged"


def test_equivalence_is_the_ninety_percent_interval():
    # 1.6449 errors of room on the nearer side.
    assert equivalent(Estimate(0.5, 0.5 / 1.646, MANY), 1.0)
    assert not equivalent(Estimate(0.5, 0.5 / 1.643, MANY), 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_p_and_bonferroni(chances):
    for p, adjusted in zip(chances, holm(chances), strict=True):
        assert p <= adjusted <= min(1.0, len(chances) * p)


def test_many_rows_raise_few_false_alarms():
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(500):
        rows = [Estimate(z, 1.0, MANY) for z in random.standard_normal(10)]
        adjusted = holm([two_sided(row) for row in rows])
        alarms += any(decide(r, 0.0, p) == "worse" for r, p in zip(rows, adjusted, strict=True))
    assert alarms / 500 < 0.05


def test_the_n_that_would_decide_decides():
    for value in (0.3, 1.5):
        found = Estimate(value, 1.0, MANY)
        n = needed(found, 1.0, 100)
        for scale, verdict in ((1.02, None), (0.98, "inconclusive")):
            error = np.sqrt(100 / (n * scale))
            said = told(value, error)
            assert said == verdict if verdict else said in ("worse", "unchanged")
    assert needed(Estimate(1.0 - 1e-9, 1.0, MANY), 1.0, 100) is None
    assert needed(Estimate(2.0, 1.0, MANY), 1.0, 100, tests=10) > needed(
        Estimate(2.0, 1.0, MANY), 1.0, 100
    )
