"""Sampling: noise per image index, the samplers, and the one conversion to uint8.

Image i is made from a generator seeded by (seed, i) alone, so it does not depend on its batch
mates and has the same noise in full precision and quantized (common random numbers). The batch is
fixed and the last one padded, as exported graphs have static shapes.

The label of a class-conditional image is drawn uniformly from the same generator, after x_T.

Timesteps are spaced by diffusers' schedulers, and DDPM's update is theirs, built from the
checkpoint's own alpha_bar.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from bench.networks import seeded
from bench.protocols import Denoiser, Sampler
from bench.spec import Draw

Watch = Callable[[Tensor, Tensor], None]


def image_generators(stream: str, seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """One generator for each image; `stream` separates images from calibration."""
    return [seeded(stream, seed, index) for index in indices]


class Trajectories:
    """The calibration of a draw: its own sampling, from noise that no measured image has.

    Args:
        denoiser: whose network is replaced by the one that is called.
        draw: how to sample; its batch is that of each evaluation.
        sampler: the draw's.
        count: trajectories, rounded up to whole batches.

    Attributes:
        shape: (B, C, H, W) of each network input.
        place: folder for what the calibration leads to.
        digest: SHA-256 of all network inputs.
    """

    place: Path | None = None
    digest = ""

    def __init__(self, denoiser: Denoiser, draw: Draw, sampler: Sampler, count: int) -> None:
        self.denoiser, self.draw, self.sampler, self.count = denoiser, draw, sampler, count
        self.shape = (draw.batch, *denoiser.shape)

    def __call__(self, model: torch.nn.Module) -> None:
        """Sample the trajectories with a network."""
        size, hashed = self.draw.batch, hashlib.sha256()

        def note(*inputs: Tensor) -> None:
            for tensor in inputs:
                hashed.update(tensor.cpu().contiguous().numpy().tobytes())

        for start in range(0, self.count, size):
            generators = image_generators(
                "calibration", self.draw.seed, range(start, start + size)
            )
            self.sampler(replace(self.denoiser, model=model), generators, self.draw, note)
        self.digest = hashed.hexdigest()


def to_uint8(x_0: Tensor) -> Tensor:
    """Map [-1, 1] to 0..255, rounding to nearest and clamping; (B, C, H, W) float to uint8."""
    return ((x_0 + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def betas(alpha_bar: Tensor) -> Tensor:
    """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, computed in float64, float32 of shape (T,)."""
    exact = alpha_bar.cpu().to(torch.float64)
    previous = torch.cat([exact.new_ones(1), exact[:-1]])
    return (1 - exact / previous).to(torch.float32)


def _images(denoiser: Denoiser, x_0: Tensor) -> Tensor:
    return to_uint8(x_0 if denoiser.decode is None else denoiser.decode(x_0)).cpu()


def labels(denoiser: Denoiser, generators: Sequence[torch.Generator]) -> Tensor:
    """A label for each image, int64 (B,), uniform over the classes; 0 where there are none."""
    if not denoiser.classes:
        return torch.zeros(len(generators), dtype=torch.int64, device=denoiser.device)
    drawn = [torch.randint(denoiser.classes, (), generator=g) for g in generators]
    return torch.stack(drawn).to(denoiser.device)


def _initial(denoiser: Denoiser, generators: Sequence[torch.Generator]) -> Tensor:
    drawn = [torch.randn(denoiser.shape, generator=g) for g in generators]
    return torch.stack(drawn).to(denoiser.device)


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


def bounded(denoiser: Denoiser, x_0: Tensor) -> Tensor:
    """The predicted x_0 (B, C, H, W) within the bounds of the checkpoint.

    Dynamic thresholding takes the quantile s of |x_0| of each image, between 1 and the largest
    that is allowed, clamps to [-s, s] and divides by s (Saharia et al. 2022, section 2.3).
    """
    if denoiser.thresholds:
        ratio, largest = denoiser.thresholds
        s = torch.quantile(x_0.flatten(1).abs(), ratio, dim=1).clamp(min=1, max=largest)
        s = s.view(-1, 1, 1, 1)
        return x_0.clamp(-s, s) / s
    return x_0.clamp(-denoiser.clip_range, denoiser.clip_range) if denoiser.clips else x_0


def parts(predicts: str, prediction: Tensor, x_t: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """(x_0, epsilon) of x_t = sqrt(a) x_0 + sqrt(1 - a) epsilon from what the network predicts."""
    signal, noise = math.sqrt(a), math.sqrt(1 - a)
    if predicts == "epsilon":
        return (x_t - noise * prediction) / signal, prediction
    if predicts == "sample":
        return prediction, (x_t - signal * prediction) / noise
    return signal * x_t - noise * prediction, signal * prediction + noise * x_t


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


def _predict(denoiser: Denoiser, x_t: Tensor, codes: Tensor, watch: Watch | None) -> Tensor:
    if watch is not None:
        watch(x_t, codes)
    return denoiser.model(x_t, codes)
