"""Ancestral sampling of DDPM (Ho et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.models.samplers.ddim import _predict
from bench.models.samplers.noise import Watch, _images, _initial, labels


def betas(alpha_bar: Tensor) -> Tensor:
    """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, computed in float64, float32 of shape (T,)."""
    exact = alpha_bar.cpu().to(torch.float64)
    previous = torch.cat([exact.new_ones(1), exact[:-1]])
    return (1 - exact / previous).to(torch.float32)


@torch.inference_mode()
def ddpm(
    denoiser: Denoiser,
    generators: Sequence[torch.Generator],
    draw: Draw,
    watch: Watch | None = None,
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), respaced to `draw.steps` timesteps.

    Returns:
        uint8 images of shape (B, C, H, W) on the CPU, one for each generator.
    """
    scheduler = DDPMScheduler(
        len(denoiser.alpha_bar),
        trained_betas=betas(denoiser.alpha_bar).numpy(),
        prediction_type=denoiser.predicts,
        timestep_spacing=draw.spacing,
        variance_type="learned_range" if denoiser.learns_variance else denoiser.variance,
        clip_sample=denoiser.clips,
        clip_sample_range=denoiser.clip_range,
        thresholding=denoiser.thresholds is not None,
        dynamic_thresholding_ratio=(denoiser.thresholds or (0.995, 1.0))[0],
        sample_max_value=(denoiser.thresholds or (0.995, 1.0))[1],
    )
    scheduler.set_timesteps(draw.steps)
    x_t = _initial(denoiser, generators)
    code = len(denoiser.alpha_bar) * labels(denoiser, generators)
    for t in scheduler.timesteps:
        prediction = _predict(denoiser, x_t, t + code, watch)
        x_t = scheduler.step(prediction, t, x_t, generator=list(generators)).prev_sample
    return _images(denoiser, x_t)
