"""A network ready to be sampled: what it is called with, and what its prediction means.

Everything outside asks a `Denoiser`: for the arguments of its network at a noise level (`inputs`),
for the image and the noise that a prediction implies (`parts`), for both at once (`denoise`). So
samplers, quantization, probes and training share one way from a prediction to x_0, and a network
of another parametrization is a subclass with other `inputs` and `parts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bench.core.noise_levels import Level, NoiseLevels

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


def implied(
    predicts: str, prediction: Tensor, x: Tensor, signal: float | Tensor, noise: float | Tensor
) -> tuple[Tensor, Tensor]:
    """(x_0, epsilon) of x = signal x_0 + noise epsilon from what a network predicts.

    Args:
        predicts: "epsilon"; "sample", which is x_0; "v_prediction", which is signal epsilon -
            noise x_0 where variance is preserved (Salimans and Ho 2022); or "flow_prediction",
            which is epsilon - x_0 (Lipman et al. 2023).
        prediction: (B, C, H, W).
        x: like the prediction.
        signal, noise: the scales of x, or those of each image, (B, 1, 1, 1).
    """
    if predicts == "epsilon":
        return (x - noise * prediction) / signal, prediction
    if predicts == "sample":
        return prediction, (x - signal * prediction) / noise
    if predicts == "flow_prediction":
        total = signal + noise
        return (x - noise * prediction) / total, (x + signal * prediction) / total
    return signal * x - noise * prediction, signal * prediction + noise * x


class Decoder(Protocol):
    """Images of latents."""

    def __call__(self, latents: Tensor, /) -> Tensor: ...

    def to(self, device: str) -> object:
        """Move to a device."""


class Denoised(NamedTuple):
    """What a network says of x at a level.

    Attributes:
        x_0: the image, within the bounds of the checkpoint.
        epsilon: the noise that the prediction implies, before x_0 was bounded.
        share: the log variance of a random step to the next level, between that of the step if x_0
            were known (0) and that if it had unit variance (1): a number, or what the network says
            of each pixel, (B, C, H, W).
    """

    x_0: Tensor
    epsilon: Tensor
    share: Tensor | float


@dataclass
class Denoiser:
    """A network ready to be sampled; the one mutable value.

    Attributes:
        model: the network, called with what `inputs` makes.
        levels: the noise levels at which it was trained.
        predicts: what it predicts, of the words of `implied`.
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
        device: where the network is evaluated.
    """

    model: torch.nn.Module
    levels: NoiseLevels
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
    device: str = "cpu"

    @property
    def alpha_bar(self) -> Tensor:
        """Signal power of the training timesteps, float32 (T,), on the network's device.

        Raises:
            InputError: it was trained at noise levels of another kind.
        """
        return self.levels.alpha_bar.to(self.device)

    def inputs(
        self, x: Tensor, level: Level, condition: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """What the network is called with: here (x, t), t int64 (B,).

        Args:
            x: float32 (B, C, H, W).
            level: of all images, or of each (`NoiseLevels.each`).
            condition: labels y of the classes, int64 (B,). The network takes them in the same
                number as the timestep, as the code t + T y; none is class 0.
        """
        import torch

        t = torch.as_tensor(level.index, device=x.device).expand(len(x))
        codes = t.clone() if condition is None else t + len(self.levels) * condition
        return x, codes

    def parts(self, prediction: Tensor, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """(x_0, epsilon) that a prediction implies, both (B, C, H, W).

        Args:
            prediction: of the network, (B, C, H, W) or with more channels behind these.
            x: what it was made of.
            level: as in `inputs`.
        """
        prediction = prediction[:, : self.shape[0]]
        return implied(self.predicts, prediction, x, level.signal, level.noise)

    def denoise(self, x: Tensor, level: Level, condition: Tensor | None = None) -> Denoised:
        """Evaluate the network once; arguments as in `inputs`."""
        prediction = self.model(*self.inputs(x, level, condition))
        x_0, epsilon = self.parts(prediction, x, level)
        if self.learns_variance:
            # Nichol and Dhariwal 2021, equation 15.
            share = (prediction[:, self.shape[0] :] + 1) / 2
            return Denoised(self.bounded(x_0), epsilon, share)
        return Denoised(self.bounded(x_0), epsilon, float(self.variance == "fixed_large"))

    def bounded(self, x_0: Tensor) -> Tensor:
        """The predicted x_0 (B, C, H, W) within the bounds of the checkpoint.

        Dynamic thresholding takes the quantile s of |x_0| of each image, between 1 and the largest
        that is allowed, clamps to [-s, s] and divides by s (Saharia et al. 2022, section 2.3).
        """
        if self.thresholds:
            ratio, largest = self.thresholds
            s = x_0.flatten(1).abs().quantile(ratio, dim=1).clamp(min=1, max=largest)
            s = s.view(-1, 1, 1, 1)
            return x_0.clamp(-s, s) / s
        return x_0.clamp(-self.clip_range, self.clip_range) if self.clips else x_0

    def example_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs of the network of the right shapes and types, for a batch of images of zeros."""
        import torch

        zeros = torch.zeros(batch, *self.shape, device=self.device)
        return self.inputs(zeros, self.levels.at(0))
