import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.explanations import METHODS, explanation
from scipy.stats import spearmanr

from bench.verdicts.correlations import correlations, spearman


def test_spearman_is_scipys_with_fishers_interval():
    x, y = [1.0, 3.0, 2.0, 5.0, 4.0, 6.0], [2.0, 2.0, 1.0, 7.0, 5.0, 9.0]
    rho, low, high = spearman(x, y)
    assert rho == pytest.approx(spearmanr(x, y).statistic)
    reach = 1.96 * 1.06 / math.sqrt(3)
    assert np.arctanh([low, high]) == pytest.approx(np.arctanh(rho) + np.array([-reach, reach]))
    assert spearman(x, x)[1] == pytest.approx(math.tanh(math.atanh(1 - 12 / 210) - reach))
    assert all(math.isnan(end) for end in spearman(x[:4], y[:4])[1:])
    assert math.isnan(spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])[0])


@pytest.mark.parametrize(("way", "told"), [(1, "contradicted"), (-1, "supported")])
def test_flatness_that_ranks_the_losses(way, told):
    flat = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    found = correlations(explanation(flat, [way * x for x in flat]), None)
    (line,) = (c for c in found if c.loss == "-PSNR, w4a8")
    assert (line.flatness, line.n, line.verdict) == ("LPF rise", 6, told)
    assert line.rho == pytest.approx(-way)


def test_too_few_checkpoints_are_undecided():
    found = explanation([0.1, 0.2, 0.3], [3.0, 2.0, 1.0], METHODS[:3])
    assert {line.verdict for line in correlations(found, None)} == {"undecided"}


def test_trainings_of_a_method_count_once():
    methods = (*METHODS[:5], *METHODS[:5])
    flat = [0.1, 0.2, 0.3, 0.4, 0.5, 0.3, 0.2, 0.5, 0.4, 0.9]
    loss = [1.0, 3.0, 2.0, 5.0, 4.0, 3.0, 1.0, 4.0, 3.0, 6.0]
    seeds = (0,) * 5 + (1,) * 5
    found = correlations(explanation(flat, loss, methods, seeds=seeds), None)
    (line,) = (c for c in found if c.loss == "-PSNR, w4a8")
    assert line.n == 5
    # Means by hand: 0.2, 0.2, 0.4, 0.4, 0.7 and 2, 2, 3, 4, 5.
    rho = spearmanr([0.2, 0.2, 0.4, 0.4, 0.7], [-2, -2, -3, -4, -5]).statistic
    assert line.rho == pytest.approx(rho)


def test_checkpoints_of_one_method_and_seed_are_points_of_their_own():
    # Several radii, say: no trainings of one thing.
    flat = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    drawn = explanation(flat, flat, ("sam",) * 6)
    parts = [replace(part, checkpoint=f"c{k}") for k, part in enumerate(drawn.parts)]
    found = correlations(replace(drawn, parts=tuple(parts)), None)
    assert {c.n for c in found} == {6}
