"""DDIM sampling (Song et al. 2021)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser, parts
from bench.models.samplers.noise import Watch, _images, _initial, bounded, labels


@torch.inference_mode()
def ddim(
    denoiser: Denoiser,
    generators: Sequence[torch.Generator],
    draw: Draw,
    watch: Watch | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12): deterministic for eta = 0, DDPM-like for eta = 1.

    A step leads to the next timestep of the spacing, whatever the number of steps; diffusers' own
    step goes down by T // steps, which is another noise level where steps do not divide T. The
    predicted x_0 is bounded as there, and the predicted noise stays.

    Returns:
        uint8 images of shape (B, C, H, W) on the CPU, one for each generator.
    """
    spaced = DDIMScheduler(len(denoiser.alpha_bar), timestep_spacing=draw.spacing)
    spaced.set_timesteps(draw.steps)
    powers = [denoiser.alpha_bar[t].item() for t in spaced.timesteps] + [1.0]
    x_t = _initial(denoiser, generators)
    code = len(denoiser.alpha_bar) * labels(denoiser, generators)
    for t, (a, b) in zip(spaced.timesteps, itertools.pairwise(powers), strict=True):
        prediction = _predict(denoiser, x_t, t + code, watch)[:, : denoiser.shape[0]]
        x_0, epsilon = parts(denoiser.predicts, prediction, x_t, a)
        variance = draw.eta**2 * (1 - b) / (1 - a) * (1 - a / b)
        x_0 = bounded(denoiser, x_0)
        x_t = math.sqrt(b) * x_0 + math.sqrt(max(1 - b - variance, 0)) * epsilon
        if variance > 0:
            x_t += math.sqrt(variance) * _initial(denoiser, generators)
    return _images(denoiser, x_t)


def _predict(denoiser: Denoiser, x_t: Tensor, codes: Tensor, watch: Watch | None) -> Tensor:
    if watch is not None:
        watch(x_t, codes)
    return denoiser.model(x_t, codes)
