"""Order of convergence of each sampler along noise levels of every kind, on data whose flow is
known: log2 of the ratio of errors as the steps double, from 40 to 160. docs/checkpoints.md has
the figures."""

import math

import pytest
import torch
from helpers.oracles import DATA, KINDS, exact

from bench.core import extensions
from bench.core.noise_levels import Level, NoiseLevels

SPACINGS = dict.fromkeys(KINDS, "karras") | dict.fromkeys(
    ("discrete", "zero terminal", "flow", "shifted flow"), "trailing"
)
# Heun and 2M end with a step of Euler, whose error is of first order where the spacing does not
# make the last step smaller than the others: at timesteps of a schedule.
ORDERS = {
    "ddim": {"gaussian": {}, "mixture": {}},
    "heun": {
        "gaussian": {"discrete": 1.53, "fractional": 2.74, "zero terminal": 1.09},
        "mixture": {"discrete": 1.49, "zero terminal": 1.09},
    },
    "dpmpp-2m": {
        "gaussian": {
            "discrete": 3.78,
            "fractional": 4.38,
            "zero terminal": 1.15,
            "flow": 1.35,
            "shifted flow": 1.09,
        },
        "mixture": {"discrete": 2.13, "zero terminal": 1.31, "flow": 1.57, "shifted flow": 1.75},
    },
}
USUAL = {"ddim": 0.98, "heun": 2.05, "dpmpp-2m": 2.12}


# The others are like one of these.
FAST = ("discrete", "zero terminal", "edm", "flow")
CASES = [pytest.param(k, marks=[] if k in FAST else [pytest.mark.slow]) for k in KINDS]


def error(sampler, data, kind, steps):
    """Mean distance of the ends of paths from the exact ones; they start at quantiles of noise."""
    levels = KINDS[kind].steps(steps, SPACINGS[kind])
    start = torch.special.ndtri(torch.linspace(0.005, 0.995, 100, dtype=torch.float64))
    x_T = KINDS[kind].deviation(levels[0]) * start
    made = sampler(data.denoise, x_T, levels, lambda: pytest.fail("it takes no random steps"))
    return float((made - exact(data, x_T, levels[0])).abs().mean())


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("kind", CASES)
def test_order_of_convergence(name, kind):
    sampler = extensions.lookup("samplers", name)
    for title, data in DATA.items():
        few, many = (error(sampler, data, kind, steps) for steps in (40, 160))
        order = math.log2(few / many) / 2
        assert order == pytest.approx(ORDERS[name][title].get(kind, USUAL[name]), abs=0.2)
        assert many < 0.02


@pytest.mark.parametrize("kind", CASES)
def test_ancestral_steps_reach_the_mixture(kind):
    """Of first order in distribution: mean and deviation of many images."""
    data, levels = (
        DATA["mixture"],
        KINDS[kind].steps(100, SPACINGS[kind].replace("karras", "trailing")),
    )
    generator = torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(1, 1, 64, 128, generator=generator, dtype=torch.float64)

    x_T = KINDS[kind].deviation(levels[0]) * noise()
    made = extensions.lookup("samplers", "ddpm")(data.denoise, x_T, levels, noise)
    spread = math.sqrt(0.3 * (0.04 + 0.36) + 0.7 * (0.09 + 0.16) - 0.1**2)
    assert float(made.mean()) == pytest.approx(0.1, abs=0.03)
    assert float(made.std()) == pytest.approx(spread, rel=0.05)


def walk(sigmas):
    """Levels where variance explodes."""
    return [Level(1.0, float(s), len(sigmas) - 1 - k) for k, s in enumerate(sigmas)]


def stepped(scheduler, x, data, convention):
    """Where a scheduler of diffusers leads, given the noise or velocity of known data."""
    for t in scheduler.timesteps:
        sigma = float(scheduler.sigmas[scheduler.step_index or 0])
        if convention == "flow":
            x_0 = data.x_0(x, 1 - sigma, sigma).to(x.dtype)
            prediction = (x - x_0) / sigma
        else:
            scheduler.scale_model_input(x, t)
            prediction = (x - data.x_0(x, 1.0, sigma).to(x.dtype)) / sigma
        x = scheduler.step(prediction, t, x).prev_sample
    return x


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("ddim", "EulerDiscreteScheduler"), ("heun", "HeunDiscreteScheduler")],
)
@pytest.mark.parametrize("karras", [False, True])
def test_steps_are_those_of_diffusers_where_variance_explodes(name, scheduler, karras):
    import diffusers

    made = getattr(diffusers, scheduler)(use_karras_sigmas=karras)
    made.set_timesteps(12)
    sigmas = made.sigmas.tolist()
    # Heun's scheduler holds each sigma but the first and the last twice.
    sigmas = sigmas if name == "ddim" else [sigmas[0], *sigmas[1:-1:2], sigmas[-1]]
    data, x = DATA["mixture"], sigmas[0] * torch.linspace(-2, 2, 50)
    ours = extensions.lookup("samplers", name)(data.denoise, x.double(), walk(sigmas), None)
    torch.testing.assert_close(
        stepped(made, x, data, "exploding"), ours.float(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("ddim", "FlowMatchEulerDiscreteScheduler"), ("heun", "FlowMatchHeunDiscreteScheduler")],
)
def test_steps_are_those_of_diffusers_along_a_flow(name, scheduler):
    import diffusers

    made = getattr(diffusers, scheduler)()
    made.set_timesteps(12)
    levels = NoiseLevels.flow().steps(12, "linspace")
    data, x = DATA["mixture"], torch.linspace(-2, 2, 50)
    ours = extensions.lookup("samplers", name)(data.denoise, x.double(), levels, None)
    torch.testing.assert_close(stepped(made, x, data, "flow"), ours.float(), rtol=1e-4, atol=1e-4)
