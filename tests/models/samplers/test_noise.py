"""Samplers against an analytic denoiser.

For x_0 ~ N(mu, s^2) the best prediction of the noise is linear in x_t, so each update of DDIM is a
linear map and the sampled mean and deviation follow from a scalar recursion that is written out
here, apart from the schedulers under test. For eta = 0 it ends near (mu, s) itself; ancestral
steps (eta = 1, DDPM) fall short of s by a known amount that shrinks with the number of steps.
"""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler
from helpers.tiny import TINY_NETWORK

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.models.networks import build_network
from bench.models.samplers.ddim import ddim
from bench.models.samplers.ddpm import ddpm
from bench.models.samplers.drawing import Batch, images, to_uint8
from bench.models.samplers.noise import image_generators
from bench.models.samplers.trajectories import Trajectories
from bench.models.schedules import SCHEDULES, alpha_bar

MEAN, DEVIATION = 0.2, 0.25


class GaussianDenoiser(torch.nn.Module):
    """E[eps | x_t] for white Gaussian data of the given mean and deviation."""

    def __init__(self, schedule, variance_output=False):
        super().__init__()
        self.alpha_bar, self.variance_output = schedule.double(), variance_output

    def forward(self, x_t, t):
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        centred = x_t.double() - a.sqrt() * MEAN
        epsilon = ((1 - a).sqrt() * centred / (a * DEVIATION**2 + 1 - a)).float()
        return (
            torch.cat([epsilon, -torch.ones_like(epsilon)], 1) if self.variance_output else epsilon
        )


def gaussian(schedule, **changes):
    levels = NoiseLevels.discrete(alpha_bar(schedule))
    return Denoiser(GaussianDenoiser(alpha_bar(schedule), **changes), levels,
                    "epsilon", (1, 16, 16), learns_variance=bool(changes))  # fmt: skip


def timesteps(spacing, steps, count=1000):
    if spacing == "trailing":
        return [round(count - k * count / steps) - 1 for k in range(steps)]
    if spacing == "leading":
        return [k * (count // steps) for k in reversed(range(steps))]
    return [round(k * (count - 1) / (steps - 1)) for k in reversed(range(steps))]


def expected_moments(schedule, spacing, steps, eta):
    """Mean and deviation that DDIM (eq. 12 of Song et al.) reaches from N(0, 1)."""
    curve = alpha_bar(schedule).tolist()
    powers = [curve[t] for t in timesteps(spacing, steps)] + [1.0]
    mean, variance = 0.0, 1.0
    for a, b in itertools.pairwise(powers):
        total = a * DEVIATION**2 + 1 - a
        noise = eta**2 * (1 - b) / (1 - a) * (1 - a / b)
        gain_x_0, gain_eps = math.sqrt(a) * DEVIATION**2 / total, math.sqrt(1 - a) / total
        slope = math.sqrt(b) * gain_x_0 + math.sqrt(max(1 - b - noise, 0)) * gain_eps
        mean = math.sqrt(b) * MEAN + slope * (mean - math.sqrt(a) * MEAN)
        variance = slope**2 * variance + noise
    return mean, math.sqrt(variance)


def test_the_recursion_ends_at_the_data_for_many_steps():
    for eta in (0.0, 1.0):
        mean, deviation = expected_moments("cosine", "trailing", 1000, eta)
        assert mean == pytest.approx(MEAN, abs=0.002)
        assert deviation == pytest.approx(DEVIATION, rel=0.02)


def moments(pixels):
    values = pixels.double() / 127.5 - 1
    return values.mean().item(), values.std().item()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize(("sampler", "eta"), [(ddim, 0.0), (ddim, 1.0), (ddpm, 0.0)])
@pytest.mark.parametrize("steps", [30, 100, 150, 600])
def test_sampler_reaches_the_gaussian(schedule, spacing, sampler, eta, steps):
    draw = Draw(steps=steps, spacing=spacing, eta=eta)
    generators = image_generators("images", 0, range(64))
    mean, deviation = moments(images(gaussian(schedule), sampler, generators, draw))
    stochasticity = 1.0 if sampler is ddpm else eta
    expected_mean, expected_deviation = expected_moments(schedule, spacing, steps, stochasticity)
    assert mean == pytest.approx(expected_mean, abs=0.01)
    assert deviation == pytest.approx(expected_deviation, rel=0.02)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_a_step_is_that_of_diffusers_where_steps_divide_the_timesteps(predicts, eta):
    schedule = alpha_bar("cosine")
    seen = []

    def model(x, t):
        seen.append(x.clone())
        return 0.5 * x + 0.1

    denoiser = Denoiser(model, NoiseLevels.discrete(schedule), predicts, (1, 8, 8))
    generators = image_generators("images", 0, range(4))
    images(denoiser, ddim, generators, Draw(steps=20, eta=eta))
    scheduler = DDIMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=predicts,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(20)
    generators = image_generators("images", 0, range(4))
    x_t = torch.stack([torch.randn(1, 8, 8, generator=g) for g in generators])
    for t, found in zip(scheduler.timesteps, seen, strict=True):
        torch.testing.assert_close(found, x_t, atol=2e-4, rtol=1e-3)
        x_t = scheduler.step(0.5 * x_t + 0.1, t, x_t, eta=eta, generator=generators).prev_sample


def test_learned_variance_is_split_off():
    draw = Draw(steps=100)
    for sampler in (ddim, ddpm):
        denoiser = gaussian("cosine", variance_output=True)
        mean, deviation = moments(
            images(denoiser, sampler, image_generators("a", 0, range(64)), draw)
        )
        # v = -1 is the posterior variance, which DDPM without learned variance uses too.
        eta = 1.0 if sampler is ddpm else 0.0
        expected_mean, expected_deviation = expected_moments("cosine", "trailing", 100, eta)
        assert mean == pytest.approx(expected_mean, abs=0.01)
        assert deviation == pytest.approx(expected_deviation, rel=0.02)


@pytest.mark.parametrize("sampler", [ddim, ddpm])
def test_an_image_does_not_depend_on_its_batch(sampler):
    """Exact for an elementwise model: noise and update rule are per image."""
    draw, denoiser = Draw(steps=5, eta=0.5), gaussian("cosine")
    whole = images(denoiser, sampler, image_generators("images", 3, range(10)), draw)
    alone = images(denoiser, sampler, image_generators("images", 3, [7]), draw)
    assert torch.equal(whole[7], alone[0])


def test_batch_size_changes_a_network_image_by_rounding_only():
    """Convolution kernels may sum in another order for another batch size: at most one code of
    255 apart, and almost all pixels equal."""
    torch.manual_seed(0)
    model = build_network(TINY_NETWORK).eval()
    denoiser = Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 28, 28))
    draw = Draw(steps=5)
    reference = images(denoiser, ddim, image_generators("images", 0, range(64)), draw)
    for batch in (1, 7):
        parts = [
            images(denoiser, ddim, image_generators("images", 0, range(k, k + batch)), draw)
            for k in range(0, 14, batch)
        ]
        difference = (torch.cat(parts).int() - reference[:14].int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).double().mean() < 0.01


def test_uint8_conversion_rounds_and_clamps():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 1.5, 127.4 / 127.5 - 1, 127.6 / 127.5 - 1])
    assert to_uint8(x).tolist() == [0, 0, 128, 255, 255, 127, 128]


def test_what_is_around_the_network_sees_every_level():
    seen = []
    batch = Batch(gaussian("cosine"), ddim, image_generators("a", 0, [0]), Draw(steps=4))

    def watched(x, level):
        seen.append((tuple(x.shape), level.index))
        return batch.denoise(x, level)

    batch.images(watched)
    assert seen == [((1, 1, 16, 16), t) for t in (999, 749, 499, 249)]


def test_sampling_starts_from_what_it_is_given():
    first, second = (
        Batch(gaussian("cosine"), ddim, image_generators("a", 0, [0, 1]), Draw(steps=4))
        for _ in range(2)
    )
    whole = first.images()
    assert torch.equal(second.images(x_T=second.x_T.flip(0)), whole.flip(0))


def test_trajectories_are_those_of_the_network_that_is_called():
    """Every timestep of every trajectory is seen, and the digest tells other inputs apart."""
    denoiser = Denoiser(None, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 4, 4))
    draw = Draw(steps=3, batch=2)
    seen = []

    def model(x, t):
        seen.append((x.clone(), t))
        return 0.1 * x

    trajectories = Trajectories(denoiser, draw, ddim, count=3)
    digest = trajectories(model)
    # Three trajectories take two batches of two.
    assert [t.tolist() for _, t in seen] == [[t, t] for t in (999, 666, 332)] * 2
    assert {tuple(x.shape) for x, _ in seen} == {trajectories.shape} == {(2, 1, 4, 4)}
    assert [level.tolist() for _, level in trajectories.kept] == [[999, 999], [332, 332]]
    same, other = (Trajectories(denoiser, draw, ddim, count=3) for _ in range(2))
    assert same(model) == digest != other(lambda x, t: 0.2 * x)
    measured = torch.stack(
        [torch.randn(1, 4, 4, generator=g) for g in image_generators("images", 0, range(4))]
    )
    starts = torch.cat([x for x, t in seen if t[0] == 999])
    assert not any(torch.equal(a, b) for a in starts for b in measured)
