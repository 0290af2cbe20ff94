import numpy as np
import pytest
import torch
from helpers.subjects import small

from bench.core.cell import Draw
from bench.evaluation.probe_context import sampling
from bench.measurement.probes.prior_shift import SHIFTS, Prior, low_frequencies, tails
from bench.system.random import seeded


def test_tails_keep_variance_and_ranks():
    z = torch.randn(200_000, generator=seeded("tails"))
    heavy = tails(z)
    assert float(heavy.var()) == pytest.approx(1.0, abs=0.02)
    assert (heavy[z.argsort()].diff() >= 0).all()
    kurtosis = float((heavy / heavy.std()).pow(4).mean())
    assert kurtosis > 5


def test_low_frequencies_are_amplified_and_high_ones_kept():
    steps = torch.arange(32) / 32
    slow = torch.cos(2 * torch.pi * 2 * steps).expand(1, 1, 32, 32)
    fast = torch.cos(2 * torch.pi * 8 * steps).expand(1, 1, 32, 32)
    torch.testing.assert_close(low_frequencies(slow), 1.5 * slow, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(low_frequencies(fast), fast, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_sampling_starts_from_what_it_is_given(sampler):
    found = small()
    draw = Draw(sampler=sampler, steps=3, images=4, batch=2)
    sample = sampling(found.full, draw)
    usual = sample(found.full)
    same = sample(found.full, start=lambda z: z)
    assert np.array_equal(usual, same)
    # Both batches, so that their first images, of unlike noise, become alike.
    constant = sample(found.full, start=torch.zeros_like)
    assert not np.array_equal(constant, usual)
    if sampler == "ddim":
        assert all(np.array_equal(constant[0], image) for image in constant)


def test_rises_are_paired_with_the_usual_start():
    found = small()
    draw = Draw(steps=3, images=4, batch=4)

    def quality(images):
        values = images.astype(float).mean((1, 2, 3))
        return float(values.mean()), values - values.mean()

    found = small(sample=sampling(found.full, draw), quality=quality)
    rows = Prior()(found, "shifts", {})
    at = {(r.name, r.where.get("start")): r for r in rows}
    base = at["quality", "standard normal"].value
    for name in SHIFTS:
        assert at["prior_rise", name].value == pytest.approx(at["quality", name].value - base)
    total = at["prior_shift", None].value
    assert total == pytest.approx(np.mean([at["prior_rise", n].value for n in SHIFTS]))
