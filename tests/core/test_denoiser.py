"""What a prediction means, within which bounds, and what a network is called with."""

import math

import pytest
import torch

from bench.core.denoiser import Denoiser, diffuse, implied
from bench.core.noise_levels import Level, NoiseLevels
from bench.system.random import seeded

ALPHA_BAR = torch.linspace(0.999, 0.001, 1000)
LEVELS = NoiseLevels.discrete(ALPHA_BAR)


def made(model=None, predicts="epsilon", **changes):
    return Denoiser(model, LEVELS, predicts, (1, 4, 4), **changes)


def test_every_prediction_implies_the_same_image_and_noise():
    x_0, eps = torch.randn(2, 3, 1, 4, 4, generator=seeded("implied"))
    cases = [
        ("epsilon", 0.6, 0.8, eps),
        ("sample", 0.6, 0.8, x_0),
        ("v_prediction", 0.6, 0.8, 0.6 * eps - 0.8 * x_0),
        ("flow_prediction", 0.3, 0.7, eps - x_0),
        ("epsilon", 1.0, 5.0, eps),
        ("flow_prediction", 1.0, 5.0, eps - x_0),
        ("velocity", 0.3, 0.7, x_0 - eps),
        # No signal, and no noise: Heun and DPM-Solver++ meet them at the ends of a flow.
        ("velocity", 0.0, 1.0, x_0 - eps),
        ("flow_prediction", 1.0, 0.0, eps - x_0),
    ]
    for predicts, signal, noise, prediction in cases:
        x = signal * x_0 + noise * eps
        found = implied(predicts, prediction, x, signal, noise)
        torch.testing.assert_close(found, (x_0, eps), rtol=1e-4, atol=1e-5)


def test_f_of_edm_is_that_of_the_paper():
    """Karras et al. 2022, table 1: c_skip, c_out, c_in and c_noise, in numbers of their own."""
    x_0, eps = torch.randn(2, 3, 1, 4, 4, generator=seeded("edm"))
    for sigma, data in ((0.1, 0.5), (2.0, 0.5), (30.0, 1.0)):
        x = x_0 + sigma * eps
        c_skip = data**2 / (sigma**2 + data**2)
        c_out = sigma * data / (sigma**2 + data**2) ** 0.5
        f = (x_0 - c_skip * x) / c_out
        for predicts, prediction in (("edm", f), ("v_prediction", -f)):
            found = implied(predicts, prediction, x, 1.0, sigma, data)
            torch.testing.assert_close(found, (x_0, eps), rtol=1e-3, atol=1e-4)
        levels = NoiseLevels.sigmas(0.01, 80.0, told="c_noise")
        denoiser = Denoiser(None, levels, "edm", (1, 4, 4), sigma_data=data)
        given, told = denoiser.inputs(x, levels.near(-2 * math.log(sigma)))
        torch.testing.assert_close(given, x / (sigma**2 + data**2) ** 0.5)
        assert told.tolist() == pytest.approx([math.log(sigma) / 4] * 3, abs=1e-6)
    # F of unit variance where the data have the deviation that it is told (their equation 7).
    assert float(f.std()) == pytest.approx(1.0, abs=0.3)


def test_f_is_the_same_whatever_the_convention():
    """x of a preserving level is that of sigma divided; F and -v of unit data are one."""
    x_0, eps = torch.randn(2, 3, 1, 4, 4, generator=seeded("edm"))
    f = 0.8 * eps - 0.6 * x_0
    assert torch.equal(
        implied("edm", -f, 0.8 * x_0 + 0.6 * eps, 0.8, 0.6, 1.0)[0],
        implied("v_prediction", f, 0.8 * x_0 + 0.6 * eps, 0.8, 0.6, 1.0)[0],
    )
    f = 0.6 * x_0 - 0.8 * eps
    found = implied("edm", f, 0.8 * x_0 + 0.6 * eps, 0.8, 0.6, 1.0)
    torch.testing.assert_close(found, (x_0, eps), rtol=1e-4, atol=1e-5)


def test_images_may_have_levels_of_their_own():
    x_0, eps = torch.randn(2, 3, 1, 4, 4, generator=seeded("each"))
    t = torch.tensor([0, 300, 900])
    x = diffuse(x_0, eps, ALPHA_BAR[t])
    denoiser, each = made(), LEVELS.each(t)
    found = denoiser.parts(eps, x, each)
    torch.testing.assert_close(found, (x_0, eps), rtol=1e-3, atol=1e-4)
    assert torch.equal(denoiser.inputs(x, each)[1], t)


def test_the_network_is_called_with_codes_of_timestep_and_label():
    denoiser, x = made(classes=3), torch.zeros(2, 1, 4, 4)
    given, codes = denoiser.inputs(x, LEVELS.at(7), torch.tensor([2, 0]))
    assert given is x and codes.tolist() == [2007, 7] and codes.dtype == torch.int64
    assert denoiser.inputs(x, LEVELS.at(7))[1].tolist() == [7, 7]
    x, codes = denoiser.example_inputs(5)
    assert x.shape == (5, 1, 4, 4) and codes.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("changes", "share"),
    [({}, 0.0), ({"variance": "fixed_large"}, 1.0), ({"learns_variance": True}, 0.75)],
)
def test_the_share_of_the_variance(changes, share):
    def model(x, t):
        return torch.cat([x, torch.full_like(x, 0.5)], 1) if "learns_variance" in changes else x

    found = made(model, **changes).denoise(torch.zeros(2, 1, 4, 4), LEVELS.at(5))
    assert torch.as_tensor(found.share).eq(share).all()
    assert found.x_0.shape == found.epsilon.shape == (2, 1, 4, 4)


def test_x_0_is_bounded_and_the_noise_is_not():
    level = Level(0.6, 0.8, 400)
    x = torch.full((1, 1, 4, 4), 3.0)
    cases = [
        ({}, 1.0),
        ({"clip_range": 2.0}, 2.0),
        ({"clips": False}, (3.0 - 0.8 * 0.5) / 0.6),
        # All pixels alike: the quantile is their size, at most 2, and they are divided by it.
        ({"thresholds": (0.9, 2.0)}, 1.0),
    ]
    for changes, expected in cases:
        found = made(lambda x, t: torch.full_like(x, 0.5), **changes).denoise(x, level)
        torch.testing.assert_close(found.x_0, torch.full_like(x, expected))
        assert torch.equal(found.epsilon, torch.full_like(x, 0.5))


def test_dynamic_thresholding_divides_by_the_quantile():
    x_0 = torch.linspace(-4, 4, 16).view(1, 1, 4, 4)
    bounded = made(thresholds=(1.0, 3.0)).bounded(x_0)
    torch.testing.assert_close(bounded, x_0.clamp(-3, 3) / 3)
    assert math.isclose(float(made(thresholds=(1.0, 9.0)).bounded(x_0).max()), 1.0)
