import itertools
import math

import numpy as np
import pytest
import torch
from helpers.subjects import small

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.scheme import Scheme
from bench.evaluation.probe_context import likeness, sampling
from bench.measurement.probes.exposure_bias import Exposure, energy_distance, gaps
from bench.models.samplers.ddim import ddim
from bench.models.samplers.drawing import Batch
from bench.models.samplers.noise import image_generators
from bench.system.random import seeded

DRAW = Draw(steps=4, images=6, batch=4)


class Same(torch.nn.Module):
    """The identity quantizer: another module that computes the same."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, t):
        return self.model(x, t)


def sampled(**changes):
    found = small(schemes=(Scheme.parse("w8a8"),), **changes)
    same = Denoiser(Same(found.full.model), found.full.levels, "epsilon", found.full.shape)
    tools = {"sample": sampling(found.full, DRAW), "likeness": likeness}
    return small(schemes=found.schemes, executed=lambda scheme: same, **tools)


def test_identity_has_the_gaps_of_full_precision():
    found = sampled()
    quantized = Exposure()(found, "w8a8:quantized", {})
    assert quantized[-1].name == "psnr"
    assert quantized[-1].value == 100.0
    assert {r.n for r in quantized} == {6}
    exact = gaps(found, found.full, "", 6)[0]
    assert [(r.name, r.value, r.low, r.where) for r in exact] == [
        (r.name, r.value, r.low, r.where) for r in quantized[:-1]
    ]
    assert {r.where["t"] for r in exact if r.name == "gap"} == {999, 749, 499, 249}
    found_gaps = [r.value for r in exact if r.name == "gap"]
    (total,) = (r for r in exact if r.name == "exposure_gap")
    assert total.value == pytest.approx(np.mean(found_gaps))
    assert total.low < total.value < total.high
    # Full precision takes all real images.
    whole = Exposure()(found, "full precision", {})
    (total,) = (r for r in whole if r.name == "exposure_gap")
    assert total.n == len(total.terms) == 16
    assert np.mean(total.terms) == pytest.approx(0.0, abs=1e-5)


def test_gap_is_the_difference_of_the_norms():
    exact = Exposure()(sampled(), "full precision", {})
    for t in (999, 249):
        at = {r.name: r.value for r in exact if r.where.get("t") == t}
        assert at["gap"] == pytest.approx(at["sampling_norm"] - at["data_norm"])


class White(torch.nn.Module):
    """E[eps | x_t] of data N(0, v I), exact: eps = slope x, slope = n / (s^2 v + n^2)."""

    def __init__(self, levels, v):
        super().__init__()
        self.levels, self.v = levels, v

    def slope(self, level):
        return level.noise / (level.signal**2 * self.v + level.noise**2)

    def forward(self, x, t):
        return self.slope(self.levels.at(int(t[0]))) * x


def test_an_exact_denoiser_has_the_bias_of_the_steps_alone():
    """DDIM multiplies x by a known number at each step, so that the gap is known without error;
    it is below 0, and the finer the steps the smaller."""
    totals = []
    for steps in (4, 40):
        draw, found = Draw(steps=steps, images=6, batch=4), small()
        model = White(found.full.levels, 0.1)
        full = Denoiser(model, found.full.levels, "epsilon", found.full.shape, clips=False)
        found = small(sample=sampling(full, draw))
        found.full, found.real = full, 0.1**0.5 * torch.randn_like(found.real)
        rows = gaps(found, full, "", 6)[0]
        x_T = Batch(full, ddim, image_generators("images", 0, range(6)), draw).x_T
        start, grown, expected = float(x_T.square().flatten(1).sum(1).mean()), 1.0, []
        for level, following in itertools.pairwise(full.levels.steps(steps, "trailing")):
            slope, s, n = model.slope(level), level.signal, level.noise
            (norm,) = (
                r.value for r in rows if r.name == "sampling_norm" and r.where["t"] == level.index
            )
            assert norm == pytest.approx((slope * grown) ** 2 * start, rel=1e-3)
            # Of 16 pixels, in expectation over the noise.
            expected.append(16 * slope**2 * (grown**2 - s**2 * 0.1 - n**2))
            grown *= following.signal / s * (1 - n * slope) + following.noise * slope
        totals.append(np.mean(expected))
    assert totals[0] < 4 * totals[1] < 0


def test_energy_distance_of_points_and_of_normals():
    value, terms = energy_distance(np.zeros((5, 9)), np.full((5, 9), 0.7))
    assert value == pytest.approx(2 * 0.7)
    assert terms == pytest.approx(np.zeros(5), abs=1e-12)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(3000, 1)), generator.normal(1.0, 1.0, size=(3000, 1))
    # X - Y is normal(1, 2); the mean of its absolute value is that of a folded normal.
    across = 2 / math.sqrt(math.pi) * math.exp(-1 / 4) + math.erf(1 / 2)
    exact = 2 * across - 2 * 2 / math.sqrt(math.pi)
    value, terms = energy_distance(x, y)
    error = terms.std(ddof=1) / len(terms) ** 0.5
    assert abs(value - exact) < 4 * error < 0.15


def test_every_prediction_implies_the_same_image_and_noise():
    generator = seeded("noise")
    x_0, eps = torch.randn(2, 3, 1, 4, 4, generator=generator)
    full = small().full
    a = full.alpha_bar[300]
    x_t = a.sqrt() * x_0 + (1 - a).sqrt() * eps
    v = a.sqrt() * eps - (1 - a).sqrt() * x_0
    for predicts, prediction in (("epsilon", eps), ("sample", x_0), ("v_prediction", v)):
        denoiser = Denoiser(full.model, full.levels, predicts, full.shape)
        # Two channels more, as networks that learn the variance have.
        both = torch.cat([prediction, prediction], 1)
        implied = denoiser.parts(both, x_t, full.levels.at(300))
        torch.testing.assert_close(implied, (x_0, eps), rtol=1e-4, atol=1e-5)
