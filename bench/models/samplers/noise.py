"""Sampling: noise per image index, the samplers, and the one conversion to uint8.

Image i is made from a generator seeded by (seed, i) alone, so it does not depend on its batch
mates and has the same noise in full precision and quantized (common random numbers). The batch is
fixed and the last one padded, as exported graphs have static shapes.

The label of a class-conditional image is drawn uniformly from the same generator, after x_T.

Timesteps are spaced by diffusers' schedulers, and DDPM's update is theirs, built from the
checkpoint's own alpha_bar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.core.denoiser import Denoiser
from bench.system.random import seeded

Watch = Callable[[Tensor, Tensor], None]


def image_generators(stream: str, seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """One generator for each image; `stream` separates images from calibration."""
    return [seeded(stream, seed, index) for index in indices]


def to_uint8(x_0: Tensor) -> Tensor:
    """Map [-1, 1] to 0..255, rounding to nearest and clamping; (B, C, H, W) float to uint8."""
    return ((x_0 + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


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
