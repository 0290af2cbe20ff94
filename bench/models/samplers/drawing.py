"""Sampling a batch: what stands around a sampler, and is the same for all of them.

    generators -> x_T, labels, fresh noise -> sampler along the levels -> x_0 -> decoder -> uint8

The label of a class-conditional image is drawn uniformly from its generator, after x_T. A sampler
sees none of that: it is given a function that denoises, x_T, the levels and the fresh noise.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.core.cell import Draw
from bench.core.denoiser import Denoised, Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import Level
from bench.core.protocols import Denoise, Sampler
from bench.models.samplers.noise import normal, uniform_labels


class Batch:
    """One batch of images that is about to be sampled.

    Args:
        denoiser: full precision or quantized.
        sampler: from the table of samplers.
        generators: one for each image, fresh.
        draw: how to sample; its steps, spacing and eta.

    Attributes:
        levels: that the sampler walks through.
        x_T: what it starts from, float32 (B, C, H, W).
        labels: of the images, int64 (B,); None where there are no classes.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sampler: Sampler,
        generators: Sequence[torch.Generator],
        draw: Draw,
    ) -> None:
        check_guidance(denoiser, draw)
        self.denoiser, self.sampler, self.generators = denoiser, sampler, generators
        self.draw = draw
        self.levels = chosen_levels(denoiser, sampler, draw)
        takes_eta = "eta" in inspect.signature(sampler).parameters
        self.options = {"eta": draw.eta} if takes_eta else {}
        self.x_T = denoiser.levels.deviation(self.levels[0]) * self.noise()
        self.labels = (
            denoiser.labels(uniform_labels(denoiser.classes, generators, denoiser.device))
            if denoiser.classes
            else None
        )

    def noise(self) -> Tensor:
        """Fresh standard normal noise of each image, (B, C, H, W)."""
        return normal(self.denoiser.shape, self.generators, self.denoiser.device)

    def inputs(self, x: Tensor, level: Level) -> tuple[Tensor, ...]:
        """What `denoise` calls the network with."""
        if self.draw.is_guided and self.labels is not None:
            return self.denoiser.guided_inputs(x, level, self.labels)
        return self.denoiser.inputs(x, level, self.labels)

    def denoise(self, x: Tensor, level: Level) -> Denoised:
        """One evaluation of the network, with the labels of the images, guided as drawn."""
        if self.draw.is_guided and self.labels is not None:
            # Outside of the interval too it is given 2B images: a graph takes no others.
            scale = self.draw.scale(level.signal, level.noise)
            return self.denoiser.guided(x, level, self.labels, scale)
        return self.denoiser.denoise(x, level, self.labels)

    @torch.inference_mode()
    def latents(self, denoise: Denoise | None = None, x_T: Tensor | None = None) -> Tensor:
        """x_0 of the batch, (B, C, H, W). It uses the generators up: once for each batch.

        Args:
            denoise: in the place of the batch's own, for instance around it to see its arguments.
            x_T: in the place of the batch's own.
        """
        start = self.x_T if x_T is None else x_T
        return self.sampler(
            denoise or self.denoise, start, self.levels, self.noise, **self.options
        )

    @torch.inference_mode()
    def images(self, denoise: Denoise | None = None, x_T: Tensor | None = None) -> Tensor:
        """The images of `latents`, uint8 (B, C', H', W') on the CPU."""
        x_0, decode = self.latents(denoise, x_T), self.denoiser.decode
        return to_uint8(x_0 if decode is None else decode(x_0)).cpu()


def chosen_levels(denoiser: Denoiser, sampler: Sampler, draw: Draw) -> Sequence[Level]:
    """The levels that a sampler walks through: those of the draw's spacing, or its own choice."""
    choose = getattr(sampler, "choose", None)
    if choose is None:
        return denoiser.levels.steps(draw.steps, draw.spacing)
    chosen: Sequence[Level] = choose(denoiser.levels, draw.steps)
    return chosen


def check_guidance(denoiser: Denoiser, draw: Draw) -> None:
    """Refuse guidance of a network that it does not fit.

    Raises:
        InputError: it has no classes, or no label for none of them.
    """
    if draw.is_guided and (not denoiser.classes or denoiser.null_label is None):
        lacking = "null label" if denoiser.classes else "classes"
        raise InputError(
            f"guidance {draw.guidance:g} is for class-conditional networks with a null label, and "
            f"this one has no {lacking}: leave --guidance out"
        )


def to_uint8(x_0: Tensor) -> Tensor:
    """Map [-1, 1] to 0..255, rounding to nearest and clamping; (B, C, H, W) float to uint8."""
    return ((x_0 + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def images(
    denoiser: Denoiser, sampler: Sampler, generators: Sequence[torch.Generator], draw: Draw
) -> Tensor:
    """One image for each generator, uint8 (B, C, H, W) on the CPU; arguments as of `Batch`."""
    return Batch(denoiser, sampler, generators, draw).images()
