"""A network ready to be sampled, and what its prediction means: noise, x_0 or v."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def diffuse(x_0: Tensor, noise: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """Sample x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise; alpha_bar_t is (B,)."""
    scale = alpha_bar_t.view(-1, *(1,) * (x_0.ndim - 1))
    return scale.sqrt() * x_0 + (1 - scale).sqrt() * noise


def to_model_range(images: Tensor) -> Tensor:
    """Map uint8 images (0..255) to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def noise_of(denoiser: Denoiser, prediction: Tensor, x_t: Tensor, t: int) -> Tensor:
    """The noise that a prediction implies, whatever the network predicts."""
    prediction = prediction[:, : denoiser.shape[0]]
    signal, noise = denoiser.alpha_bar[t].sqrt(), (1 - denoiser.alpha_bar[t]).sqrt()
    if denoiser.predicts == "epsilon":
        return prediction
    if denoiser.predicts == "sample":
        return (x_t - signal * prediction) / noise
    return signal * prediction + noise * x_t


class Decoder(Protocol):
    """Images of latents."""

    def __call__(self, latents: Tensor, /) -> Tensor: ...

    def to(self, device: str) -> object:
        """Move to a device."""


@dataclass
class Denoiser:
    """A network ready to be sampled; the one mutable value.

    Attributes:
        model: callable (x_t (B, C, H, W), t (B,) int64) -> prediction (B, C', H, W). Where there
            are classes, t is the code t + T y of timestep and label, T being len(alpha_bar).
        alpha_bar: signal power of the training timesteps, float32 (T,), on the network's device.
        predicts: "epsilon", "v_prediction" or "sample" (diffusers' `prediction_type`).
        shape: (C, H, W) of x: of an image, or of a latent where there is a decoder.
        learns_variance: whether the model has 2C outputs, the last C for the variance.
        variance: "fixed_small" or "fixed_large", of DDPM where none is learned.
        classes: number of classes, 0 for an unconditional model.
        clips: whether the predicted x_0 is clamped.
        clip_range: to [-clip_range, clip_range].
        thresholds: (ratio, largest) of dynamic thresholding of x_0 instead (Saharia et al. 2022);
            None for none.
        description: what the checkpoint's files and card say, in words, by topic: schedule,
            prediction, bounds, variance and the like, for the protocol of a run.
        decode: x_0 -> images in [-1, 1], (B, C', H', W'); None where x_0 is the image.
    """

    model: torch.nn.Module
    alpha_bar: Tensor
    predicts: str
    shape: tuple[int, int, int]
    learns_variance: bool = False
    variance: str = "fixed_small"
    classes: int = 0
    clips: bool = True
    decode: Decoder | None = None
    clip_range: float = 1.0
    thresholds: tuple[float, float] | None = None
    description: Mapping[str, str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the network is evaluated."""
        return self.alpha_bar.device


def parts(predicts: str, prediction: Tensor, x_t: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """(x_0, epsilon) of x_t = sqrt(a) x_0 + sqrt(1 - a) epsilon from what the network predicts."""
    signal, noise = math.sqrt(a), math.sqrt(1 - a)
    if predicts == "epsilon":
        return (x_t - noise * prediction) / signal, prediction
    if predicts == "sample":
        return prediction, (x_t - signal * prediction) / noise
    return signal * x_t - noise * prediction, signal * prediction + noise * x_t
