"""What a probe looks at: one checkpoint, examples that all checkpoints share, and what the flow
can do for it.

The examples are drawn once from a seed: image i has its noise eps_i and its timestep t_i whatever
the checkpoint (common random numbers), so that differences between checkpoints are those of their
weights. Timesteps are stratified: one in each of N equal slices of 0..T - 1.

A probe names its parts beforehand and computes them one by one; the flow keeps each part, so that
an interrupted probe goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.core import estimates
from bench.core.denoiser import Denoiser
from bench.core.probe_record import Row
from bench.core.protocols import Constants, Denoise
from bench.core.scheme import Scheme
from bench.system.random import seeded

# Called with what `Denoiser.inputs` makes.
Network = Callable[..., Tensor]


@dataclass(frozen=True)
class Setting:
    """Sizes of the probes, the same for all checkpoints of an invocation.

    Attributes:
        examples: images N of the denoising loss.
        chunk: images per forward or backward pass, which bounds the memory.
        radii: of random weight perturbations, relative to the L2 norm of the weights.
        worst_radii: of the worst direction, likewise.
        directions: random directions of each kind.
        ascent: gradient steps towards the worst direction.
        sigma: standard deviation of the Gaussian of LPF flatness, in units of the weights.
        shifts: Gaussian shifts M of LPF flatness, in antithetic pairs.
        box: epsilon of epsilon-sharpness.
        curvature: images of the Hessian.
        lanczos: iterations, Hessian-vector products.
        eigenvalues: largest ones that are reported.
        hutchinson: random vectors of the trace.
        images: sampled images of a part.
        exposure: images whose sampling is set against real ones, for the exposure bias in full
            precision; `images` where quantized.
        bands: equal bands of timesteps.
        worst: layers on the skip list; twice as many are verified by sampled images.
        seed: of all of this.
    """

    examples: int = 128
    chunk: int = 32
    radii: tuple[float, ...] = (0.01, 0.02, 0.05)
    worst_radii: tuple[float, ...] = (0.0005, 0.001, 0.002)
    directions: int = 6
    ascent: int = 3
    sigma: float = 0.005
    shifts: int = 20
    box: float = 5e-4
    curvature: int = 64
    lanczos: int = 12
    eigenvalues: int = 3
    hutchinson: int = 8
    images: int = 50
    exposure: int = 400
    bands: int = 4
    worst: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """x_0 in [-1, 1] float32 (N, C, H, W), t int64 (N,), noise like x_0."""

    x_0: Tensor
    t: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.t)

    def to(self, device: torch.device | str) -> Examples:
        """The examples on a device."""
        return Examples(self.x_0.to(device), self.t.to(device), self.noise.to(device))

    def first(self, count: int) -> Examples:
        """A subset that is spread over all timesteps."""
        chosen = torch.linspace(0, len(self) - 1, min(count, len(self))).round().long()
        return Examples(self.x_0[chosen], self.t[chosen], self.noise[chosen])

    def chunks(self, size: int) -> list[Examples]:
        """The examples in chunks of at most `size`."""
        tensors = (value.split(size) for value in (self.x_0, self.t, self.noise))
        return [Examples(*chunk) for chunk in zip(*tensors, strict=True)]


def draw_examples(images: Tensor, timesteps: int, setting: Setting) -> Examples:
    """Draw the examples of a data set.

    Args:
        images: float32 (M, C, H, W) in [-1, 1], M of at least `setting.examples`.
        timesteps: T.
    """
    count = setting.examples
    generator = seeded("probes", "examples", setting.seed)
    chosen = torch.randperm(len(images), generator=generator)[:count]
    slices = torch.arange(count) + torch.rand(count, generator=generator)
    t = (slices * timesteps / count).long().clamp(max=timesteps - 1)
    shape = (count, *images.shape[1:])
    return Examples(images[chosen], t, torch.randn(shape, generator=generator))


class Sample(Protocol):
    """Samples images, image i from the same noise whatever the network."""

    def __call__(
        self,
        denoiser: Denoiser,
        count: int = ...,
        around: Callable[[Denoise], Denoise] | None = None,
        start: Callable[[Tensor], Tensor] | None = None,
    ) -> np.ndarray:
        """uint8 images (N, C, H, W).

        Args:
            denoiser: the network.
            count: N, `Setting.images` by default.
            around: for each batch, what the sampler calls in the place of the network's own
                function.
            start: x_T of a batch -> what it starts from instead.
        """


@dataclass(frozen=True)
class Subject:
    """One checkpoint and what can be done with it.

    Attributes:
        full: the network in full precision.
        examples: of the denoising loss.
        real: images in [-1, 1] for the exposure bias, float32 (N, C, H, W).
        setting: sizes.
        schemes: those that are explained.
        losses: (network, examples) -> denoising loss of each, (N,); differentiable.
        constants: of a scheme, layer by layer in order of execution.
        executed: the network as the backend executes a scheme; it takes `batch` images only.
        sample: samples full precision or quantized networks.
        quality: of sampled images, lower is better, with the influence of each image (N,).
        likeness: PSNR of each image to its twin in dB, (N,).
        batch: of the quantized networks.
    """

    full: Denoiser
    examples: Examples
    real: Tensor
    setting: Setting
    schemes: Sequence[Scheme]
    losses: Callable[[Network, Examples], Tensor]
    constants: Callable[[Scheme], Sequence[Constants]]
    executed: Callable[[Scheme], Denoiser]
    sample: Sample
    quality: Callable[[np.ndarray], tuple[float, np.ndarray]]
    likeness: Callable[[np.ndarray, np.ndarray], np.ndarray]
    batch: int


def row(name: str, value: float, terms: np.ndarray, **rest: Any) -> Row:
    """A row of a mean over images with the 95% interval that the terms (N,) give it."""
    low, high = estimates.interval(value, terms)
    return Row(name, float(value), low, high, len(terms), **rest)


def compared(
    name: str, value: float, terms: np.ndarray, repeats: Sequence[float] = (), **rest: Any
) -> Row:
    """A row that keeps what a paired comparison of two checkpoints needs.

    Args:
        value: a mean over images, or over random directions and images.
        terms: the influence of each image, (N,), a mean over the directions.
        repeats: the value in each direction; the interval covers how much they differ too.
    """
    found = estimates.pooled(repeats, [terms]) if repeats else estimates.estimate(value, terms)
    low, high = found.interval() if found else (None, None)
    rest |= {"terms": tuple(map(_digits, terms)), "repeats": tuple(map(float, repeats))}
    return Row(name, float(value), low, high, len(terms), **rest)


def _digits(x: float) -> float:
    return float(f"{x:.6g}")
