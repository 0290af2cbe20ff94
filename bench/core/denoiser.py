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

from bench.core.errors import InputError
from bench.core.noise_levels import Level, NoiseLevels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.core.loops import Loop


# What a network may predict of x = signal x_0 + noise epsilon, in words.
PREDICTIONS = {
    "epsilon": "the noise",
    "v_prediction": "signal epsilon - noise x_0 (Salimans and Ho 2022); where variance does not "
    "stay, that of x_0 / sigma_data with the scales divided so that it does, which is -F",
    "sample": "x_0",
    "edm": "F of D = c_skip x + c_out F(c_in x; c_noise) (Karras et al. 2022, equation 7)",
    "flow_prediction": "epsilon - x_0 (Lipman et al. 2023), as diffusers has it",
    "velocity": "x_0 - epsilon, of a time that runs from noise to images (Ma et al. 2024, SiT)",
}


# What networks at levels of a convention predict, by which x_0 can be known at all of them.
PREDICTED = {
    "preserving": ("epsilon", "v_prediction", "sample"),
    "exploding": ("epsilon", "v_prediction", "sample", "edm"),
    "flow": ("flow_prediction", "velocity", "sample"),
}


def diffuse(x_0: Tensor, noise: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """Sample x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise; alpha_bar_t is (B,)."""
    scale = alpha_bar_t.view(-1, *(1,) * (x_0.ndim - 1))
    return scale.sqrt() * x_0 + (1 - scale).sqrt() * noise


def to_model_range(images: Tensor) -> Tensor:
    """Map uint8 images (0..255) to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def implied(
    predicts: str,
    prediction: Tensor,
    x: Tensor,
    signal: float | Tensor,
    noise: float | Tensor,
    sigma_data: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(x_0, epsilon) of x = signal x_0 + noise epsilon from what a network predicts.

    Args:
        predicts: a key of PREDICTIONS.
        prediction: (B, C, H, W).
        x: like the prediction.
        signal, noise: the scales of x, or those of each image, (B, 1, 1, 1).
        sigma_data: deviation of the data as the training took it, for "edm" and "v_prediction";
            None for a v where variance is preserved, whose deviation is 1.
    """
    if predicts == "epsilon":
        return (x - noise * prediction) / signal, prediction
    if predicts == "sample":
        return prediction, (x - signal * prediction) / noise
    if predicts in ("flow_prediction", "velocity"):
        flow = prediction if predicts == "flow_prediction" else -prediction
        total = signal + noise
        return (x - noise * flow) / total, (x + signal * flow) / total
    if predicts == "v_prediction" and sigma_data is None:
        return signal * x - noise * prediction, signal * prediction + noise * x
    # Karras et al. 2022, equation 7 and table 1, for x of any convention.
    deviation = 1.0 if sigma_data is None else sigma_data
    output = -prediction if predicts == "v_prediction" else prediction
    power = (signal * deviation) ** 2 + noise**2
    scaled = deviation / power**0.5 * output
    x_0 = signal * deviation**2 / power * x + noise * scaled
    return x_0, noise / power * x - signal * scaled


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
        predicts: what it predicts, a key of PREDICTIONS.
        shape: (C, H, W) of x: of an image, or of a latent where there is a decoder.
        learns_variance: whether the model has 2C outputs, the last C for the variance.
        variance: "fixed_small" or "fixed_large", of DDPM where none is learned.
        classes: number of classes that images are drawn of, 0 for an unconditional model.
        null_label: the label that stands for no class, which is never drawn; None where there is
            none. Labels from it on are those of the classes plus 1.
        sigma_data: the deviation of the data by which x is scaled before the network sees it, so
            that it has unit variance (c_in of Karras et al. 2022); None where it sees x itself.
        clips: whether the predicted x_0 is clamped.
        clip_range: to [-clip_range, clip_range].
        thresholds: (ratio, largest) of dynamic thresholding of x_0 instead (Saharia et al. 2022);
            None for none.
        description: what the checkpoint's files and card say, in words, by topic: schedule,
            prediction, bounds, variance and the like, for the protocol of a run.
        decode: x_0 -> images in [-1, 1], (B, C', H', W'); None where x_0 is the image.
        device: where the network is evaluated.
        loop: what samples the network in the place of the suite's samplers, and knows what it is
            called with; None for an ordinary network.
        is_spare: whether nobody else needs the network, so that a backend changes it in place,
            where it would change a copy of any other.
    """

    model: torch.nn.Module
    levels: NoiseLevels
    predicts: str
    shape: tuple[int, int, int]
    learns_variance: bool = False
    variance: str = "fixed_small"
    classes: int = 0
    null_label: int | None = None
    sigma_data: float | None = None
    clips: bool = True
    decode: Decoder | None = None
    clip_range: float = 1.0
    thresholds: tuple[float, float] | None = None
    description: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    loop: Loop | None = None
    is_spare: bool = False

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
        """What the network is called with: (x, t), t int64 (B,) of a schedule; or (c_in x, told),
        float32 (B,) of other levels, and the labels behind them.

        Args:
            x: float32 (B, C, H, W).
            level: of all images, or of each (`NoiseLevels.each`).
            condition: labels y of the classes, int64 (B,); none is class 0. The network of a
                schedule takes them in the same number as the timestep, as the code t + T y.
        """
        import torch

        if self.levels.is_schedule:
            t = torch.as_tensor(level.index, device=x.device).expand(len(x))
            codes = t.clone() if condition is None else t + len(self.levels) * condition
            return x, codes
        number = level.index if level.told is None else level.told
        told = torch.as_tensor(number, dtype=torch.float32, device=x.device).expand(len(x))
        if self.sigma_data is not None:
            x = x / ((level.signal * self.sigma_data) ** 2 + level.noise**2) ** 0.5
        if not self.classes:
            return x, told.clone()
        label = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return x, told.clone(), label if condition is None else condition

    def guided_inputs(self, x: Tensor, level: Level, condition: Tensor) -> tuple[Tensor, ...]:
        """Inputs of one evaluation of 2B images: those of `inputs`, then the same images with the
        null label.

        Raises:
            InputError: there is no null label.
        """
        import torch

        if self.null_label is None:
            raise InputError("guidance needs a network that was trained with a null label too")
        nothing = torch.full_like(condition, self.null_label)
        return self.inputs(torch.cat([x, x]), level, torch.cat([condition, nothing]))

    def parts(self, prediction: Tensor, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """(x_0, epsilon) that a prediction implies, both (B, C, H, W).

        Args:
            prediction: of the network, (B, C, H, W) or with more channels behind these.
            x: what it was made of.
            level: as in `inputs`.
        """
        prediction = prediction[:, : self.shape[0]]
        deviation = self.sigma_data
        if deviation is None and self.levels.convention != "preserving":
            deviation = 1.0
        return implied(self.predicts, prediction, x, level.signal, level.noise, deviation)

    def denoise(self, x: Tensor, level: Level, condition: Tensor | None = None) -> Denoised:
        """Evaluate the network once; arguments as in `inputs`."""
        return self._denoised(self.model(*self.inputs(x, level, condition)), x, level)

    def guided(self, x: Tensor, level: Level, condition: Tensor, scale: float) -> Denoised:
        """Classifier-free guidance (Ho and Salimans 2022): p_null + scale (p_y - p_null) of the
        predictions with the labels and without, in one evaluation of 2B images.

        Args:
            x, level, condition: as in `inputs`.
            scale: 1 is the prediction with the labels alone. The variance is always that.
        """
        import torch

        made, nothing = self.model(*self.guided_inputs(x, level, condition)).chunk(2)
        if scale != 1:
            channels = self.shape[0]
            moved = nothing[:, :channels] + scale * (made[:, :channels] - nothing[:, :channels])
            made = torch.cat([moved, made[:, channels:]], 1)
        return self._denoised(made, x, level)

    def _denoised(self, prediction: Tensor, x: Tensor, level: Level) -> Denoised:
        x_0, epsilon = self.parts(prediction, x, level)
        if self.learns_variance:
            # Nichol and Dhariwal 2021, equation 15.
            share = (prediction[:, self.shape[0] :] + 1) / 2
            return Denoised(self.bounded(x_0), epsilon, share)
        return Denoised(self.bounded(x_0), epsilon, float(self.variance == "fixed_large"))

    def labels(self, drawn: Tensor) -> Tensor:
        """The labels of drawn classes 0 to `classes` - 1, which pass the null label over."""
        return drawn if self.null_label is None else drawn + (drawn >= self.null_label)

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
        """Inputs of the network of the right shapes and types, for a batch of images of zeros; of
        a loop the first that it gives."""
        if self.loop is not None:
            return self.loop.example_inputs(batch)
        import torch

        zeros = torch.zeros(batch, *self.shape, device=self.device)
        return self.inputs(zeros, self.levels.at(0))
