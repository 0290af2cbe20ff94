"""Our samplers against diffusers' schedulers: one network, called by both as each calls it, on a
mixture of two Gaussians whose best denoiser is known. Both are described by one config. The table
of docs/checkpoints.md has the largest differences; images lie in about [-1.5, 1.5]."""

import math

import pytest
import torch
from helpers.oracles import MIXTURE

from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.noise_levels import CLEAN
from bench.models.sources.scheduler_config import understand
from bench.system.quiet import quiet_import

with quiet_import():
    import diffusers

# They divide the timesteps: where they do not, DDIM's scheduler steps to other levels than ours.
STEPS = 10
V = {"prediction_type": "v_prediction"}
LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
TRAILING = {**LINEAR, "timestep_spacing": "trailing"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 2.0}
VIDEO = {**LINEAR, **V, "timestep_type": "continuous", "use_karras_sigmas": True,
         "sigma_min": 0.002, "sigma_max": 700.0}  # fmt: skip
ZERO = {**TRAILING, **V, "rescale_betas_zero_snr": True}
# The spacing that gives the levels of the scheduler; None where none does, and they are taken.
CASES = {
    "ddim DDIM": ("ddim", "DDIMScheduler", {**TRAILING, "clip_sample": False}, "trailing"),
    "ddim DDIM zero": ("ddim", "DDIMScheduler", {**ZERO, "clip_sample": False}, "trailing"),
    "ddim Euler": ("ddim", "EulerDiscreteScheduler", TRAILING, "trailing"),
    "ddim Euler v": ("ddim", "EulerDiscreteScheduler", {**TRAILING, **V}, "trailing"),
    "ddim Euler continuous": ("ddim", "EulerDiscreteScheduler", VIDEO, "karras"),
    "ddim EDMEuler": ("ddim", "EDMEulerScheduler", {}, "karras"),
    "ddim EDMEuler v": (
        *("ddim", "EDMEulerScheduler"),
        {**V, "sigma_data": 1.0, "sigma_schedule": "exponential", "sigma_max": 20.0},
        "exponential",
    ),
    "ddim FlowMatchEuler": ("ddim", "FlowMatchEulerDiscreteScheduler", {}, "linspace"),
    "ddim FlowMatchEuler 3": ("ddim", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, None),
    "heun FlowMatchHeun": ("heun", "FlowMatchHeunDiscreteScheduler", {}, "linspace"),
    "dpmpp-2m DPM": ("dpmpp-2m", "DPMSolverMultistepScheduler", TRAILING, "trailing"),
    "dpmpp-2m DPM flow": ("dpmpp-2m", "DPMSolverMultistepScheduler", FLOW, None),
    "dpmpp-2m EDMDPM": ("dpmpp-2m", "EDMDPMSolverMultistepScheduler", {}, "karras"),
    "ddpm EulerAncestral": ("ddpm", "EulerAncestralDiscreteScheduler", TRAILING, "trailing"),
    "ddpm DDPM": ("ddpm", "DDPMScheduler", {**TRAILING, "clip_sample": False}, "trailing"),
}
# The largest difference of an image: float32's rounding.
ALIKE = 1e-5
FAST = ("ddim EDMEuler", "ddim FlowMatchEuler 3", "dpmpp-2m DPM", "ddpm EulerAncestral")


class Network:
    """The best prediction for the mixture, of the kind and at the levels of a description."""

    def __init__(self, noise):
        self.noise, self.levels = noise, noise.levels

    def __call__(self, x, told):
        told = float(torch.as_tensor(told).flatten()[0])
        if self.levels.is_schedule:
            level = self.levels.at(round(told))
            signal, noise = level.signal, level.noise
        elif self.levels.convention == "flow":
            noise = told / len(self.levels)
            signal = 1 - noise
        else:
            signal, noise = 1.0, math.exp(4 * told)
        return self.predicted(x.double(), signal, noise).to(x.dtype)

    def predicted(self, x, signal, noise):
        data = self.noise.sigma_data
        power = 1.0 if data is None else signal**2 * data**2 + noise**2
        x = x * power**0.5
        x_0 = MIXTURE.x_0(x, signal, noise)
        eps = (x - signal * x_0) / noise
        if data is not None:
            # Karras et al. 2022, table 1; of v the sign is another.
            f = (x_0 - data**2 / power * x) * power**0.5 / (noise * data)
            return f if self.noise.predicts == "edm" else -f
        kinds = {"epsilon": eps, "v_prediction": signal * eps - noise * x_0}
        return {**kinds, "flow_prediction": eps - x_0}[self.noise.predicts]


def theirs(scheduler, network, x, generator):
    """Where the scheduler leads. It scales the input of the network itself, where it does."""
    takes = {"generator": generator} if "Ancestral" in type(scheduler).__name__ else {}
    takes |= {"generator": generator} if type(scheduler).__name__ == "DDPMScheduler" else {}
    for t in scheduler.timesteps:
        told = t
        if not network.levels.is_schedule:
            sigma = float(scheduler.sigmas[scheduler.step_index or 0])
            is_flow = network.levels.convention == "flow"
            told = sigma * len(network.levels) if is_flow else math.log(sigma) / 4
            scheduler.is_scale_input_called = True
        given = x
        if hasattr(scheduler, "scale_model_input"):
            given = scheduler.scale_model_input(x, t)
        x = scheduler.step(network(given, told), t, x, **takes).prev_sample
    return x


def sigmas_of(scheduler):
    """The scheduler's sigmas but the last, none twice."""
    return list(dict.fromkeys(scheduler.sigmas[:-1].tolist()))


def at_time(levels, t):
    """The level of a flow at a time."""
    return levels.near(2 * math.log((1 - t) / t)) if t < 1 else levels.at(len(levels) - 1)


def compared(name):
    """(images of our sampler, images of the scheduler)."""
    sampler, scheduler, config, spacing = CASES[name]
    made = getattr(diffusers, scheduler)(**config)
    made.set_timesteps(STEPS)
    noise = understand({"_class_name": scheduler, **config}, "FILE")
    levels, network = noise.levels, Network(noise)
    denoiser = Denoiser(
        network, levels, noise.predicts, (1, 4, 25), clips=False, sigma_data=noise.sigma_data
    )
    if spacing is not None:
        walk = levels.steps(STEPS, spacing)
    else:
        walk = [*(at_time(levels, s) for s in sigmas_of(made)), CLEAN]
    first = walk[0]
    x_T = torch.randn(2, 1, 4, 25, generator=torch.Generator().manual_seed(0))
    start = levels.deviation(first) * x_T
    # Euler's scheduler of betas works on x / signal.
    is_scaled = levels.is_schedule and "Euler" in scheduler
    other = start / first.signal if is_scaled else start
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    ours = extensions.lookup("samplers", sampler)(
        denoiser.denoise, start, walk, lambda: torch.randn(x_T.shape, generator=generators[0])
    )
    return ours, theirs(made, network, other, generators[1])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in CASES]
)
def test_our_samplers_are_those_of_diffusers(name):
    ours, others = compared(name)
    assert 0.5 < float(ours.abs().max()) < 2
    assert float((ours - others).abs().max()) < ALIKE
