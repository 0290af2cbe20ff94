"""The context of a probe: one checkpoint, examples that all checkpoints share, and operations.

The examples are drawn once from a seed: image i has its noise eps_i and its timestep t_i whatever
the checkpoint (common random numbers), so that differences between checkpoints are those of their
weights. Timesteps are stratified: one in each of N equal slices of 0..T - 1.

A probe names its parts beforehand and computes them one by one. Each part is kept in the cache, so
that an interrupted probe goes on where it stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core import estimates
from bench.core.allocation import Allocation
from bench.core.denoiser import Denoiser
from bench.core.probe_record import ProbeValue
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
        radii: radii of random weight perturbations, relative to the L2 norm of the weights.
        worst_radii: radii along the worst direction, relative to the same norm.
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
        seed: seed of all random numbers of the probes.
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


@dataclass(eq=False)
class ProbeContext(ABC):
    """One checkpoint and what can be done with it.

    Attributes:
        full: the network in full precision.
        examples: images, timesteps and noise of the denoising loss.
        real: real images in [-1, 1] for the exposure bias, float32 (N, C, H, W).
        setting: sizes of the probes.
        schemes: the schemes whose losses are explained.
        batch: images that a quantized network takes at a time.
    """

    full: Denoiser
    examples: Examples
    real: Tensor
    setting: Setting
    schemes: Sequence[Scheme]
    batch: int

    @abstractmethod
    def losses(self, network: Network, examples: Examples) -> Tensor:
        """The denoising loss of each example, (N,), differentiable in the network's weights."""

    @abstractmethod
    def constants(self, scheme: Scheme) -> Sequence[Constants]:
        """The constants of a scheme, layer by layer in order of execution."""

    @abstractmethod
    def executed(self, scheme: Scheme) -> Denoiser:
        """The network as the backend executes a scheme; it takes `batch` images only."""

    @abstractmethod
    def allocations(
        self, scheme: Scheme, budgets: Sequence[float], uniform: Sequence[int]
    ) -> Sequence[Allocation]:
        """Bits of weights for each layer, with the change of the network's output.

        Args:
            scheme: says which layers have their weights quantized, and the fewest bits of edges.
            budgets: means of bits; those that cannot be kept are left out.
            uniform: bits of all layers but edges that keep more; they come last.
        """

    @abstractmethod
    def sample(
        self,
        denoiser: Denoiser,
        count: int | None = None,
        around: Callable[[Denoise], Denoise] | None = None,
        start: Callable[[Tensor], Tensor] | None = None,
    ) -> np.ndarray:
        """Sample a network, in full precision or quantized, image i always from the same noise.

        Args:
            denoiser: the network.
            count: number of images N, `setting.images` where it is None.
            around: for each batch, what the sampler calls in the place of the network's own
                function.
            start: x_T of a batch -> what it starts from instead.

        Returns:
            uint8 (N, C, H, W).
        """

    @abstractmethod
    def quality(self, images: np.ndarray) -> tuple[float, np.ndarray]:
        """How far sampled images are from real ones, lower is better, and the influence of each
        image on that, (N,)."""

    @abstractmethod
    def likeness(self, images: np.ndarray, twins: np.ndarray) -> np.ndarray:
        """PSNR of each image to its full-precision twin in dB, (N,)."""


def row(name: str, value: float, terms: np.ndarray, **rest: Any) -> ProbeValue:
    """A mean over images as a row, with the 95% interval by its terms (N,)."""
    low, high = estimates.interval(value, terms)
    return ProbeValue(name, float(value), low, high, len(terms), **rest)


def compared(
    name: str, value: float, terms: np.ndarray, repeats: Sequence[float] = (), **rest: Any
) -> ProbeValue:
    """A row that keeps the terms by which two checkpoints are compared pair by pair.

    Args:
        value: a mean over images, or over random directions and images.
        terms: the influence of each image, (N,), a mean over the directions.
        repeats: the value in each direction; the interval covers how much they differ too.
    """
    estimate = estimates.pooled(repeats, [terms]) if repeats else estimates.estimate(value, terms)
    low, high = estimate.interval() if estimate else (None, None)
    rest |= {"terms": tuple(map(_digits, terms)), "repeats": tuple(map(float, repeats))}
    return ProbeValue(name, float(value), low, high, len(terms), **rest)


def _digits(x: float) -> float:
    return float(f"{x:.6g}")
