"""Exposure bias: predictions of the network along its own sampling against those on noised data.

In training x_t comes from data; in sampling it comes from the network's own errors. Ning et al.
(2024, arXiv 2308.15321) see it in the norm of the predicted noise, and so does the paper that the
suite examines: the mean of ||eps(x_t, t)||^2 over images,

    gap_t = mean over sampled x_t - mean over x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps,

at the timesteps of the sampler. The summary is its mean over those timesteps; each sampled image
with one real image is one observation. A quantized network is both sampled and evaluated as
quantized.

The distributions of x_t themselves are compared by the energy distance (Szekely and Rizzo 2013),
2 E|X - Y| - E|X - X'| - E|Y - Y'| >= 0, with |.| the Euclidean norm over sqrt(dimension); it is
zero only for equal distributions, and its estimate without the pairs (i, i) is unbiased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.core.denoiser import Denoised, Denoiser, diffuse
from bench.core.noise_levels import Level
from bench.core.probe_record import ProbeValue
from bench.core.protocols import Denoise
from bench.measurement.probes.context import ProbeContext, Setting, compared, row
from bench.system.random import seeded


class Exposure:
    """Rows `sampling_norm`, `data_norm`, `gap`, `energy_distance` for each timestep, and
    `exposure_gap`, `exposure_distance`; for quantized networks also `psnr` to full precision."""

    version = 2

    def parts(self, setting: Setting, schemes: Sequence[str]) -> Sequence[str]:
        """Full precision, then each scheme."""
        return ["full precision", *(f"{scheme}:quantized" for scheme in schemes)]

    def __call__(
        self, context: ProbeContext, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """One network."""
        scheme = "" if part == "full precision" else part.removesuffix(":quantized")
        if not scheme:
            return gaps(context, context.full, scheme, len(context.real))[0]
        (wanted,) = (known for known in context.schemes if str(known) == scheme)
        # Methods are compared in full precision; quantized networks take fewer images.
        count = min(context.setting.images, len(context.real))
        rows, images = gaps(context, context.executed(wanted), scheme, count)
        values = context.likeness(images, context.sample(context.full)[:count])
        terms = values - values.mean()
        return [*rows, row("psnr", values.mean(), terms, unit="dB", scheme=scheme)]


def gaps(
    context: ProbeContext, denoiser: Denoiser, scheme: str, count: int
) -> tuple[list[ProbeValue], np.ndarray]:
    """All rows of a network, and the `count` images that it sampled, against as many real ones."""
    seen: dict[int, list[Tensor]] = {}

    def watched(denoise: Denoise) -> Denoise:
        """Keep the first x at each level of each batch."""
        batch: set[int] = set()

        def denoising(x: Tensor, level: Level) -> Denoised:
            if level.index not in batch:
                batch.add(level.index)
                seen.setdefault(level.index, []).append(x.clone())
            return denoise(x, level)

        return denoising

    images = context.sample(denoiser, count, around=watched)
    rows, differences, distances = [], [], []
    for t, inputs in seen.items():
        sampled = torch.cat(inputs)[: len(images)]
        data = noised(context, t)[:count]
        norms = squared_norms(context, denoiser, sampled, t)
        usual = squared_norms(context, denoiser, data, t)
        differences.append(norms - usual)
        distance, terms = energy_distance(*(x.flatten(1).cpu().numpy() for x in (sampled, data)))
        distances.append((distance, terms))
        coordinates: dict[str, float | str] = {"t": int(t)}
        rows += [
            row("sampling_norm", *_mean(norms), scheme=scheme, where=coordinates),
            row("data_norm", *_mean(usual), scheme=scheme, where=coordinates),
            row("gap", *_mean(differences[-1]), scheme=scheme, where=coordinates),
            row("energy_distance", distance, terms, scheme=scheme, where=coordinates),
        ]
    rows.append(compared("exposure_gap", *_mean(np.mean(differences, axis=0)), scheme=scheme))
    mean = float(np.mean([value for value, _ in distances]))
    terms = np.mean([terms for _, terms in distances], axis=0)
    rows.append(compared("exposure_distance", mean, terms, scheme=scheme))
    return rows, images


def noised(context: ProbeContext, t: int) -> Tensor:
    """Data at a timestep, with noise that is the same for all checkpoints, (N, C, H, W)."""
    x_0 = context.real
    generator = seeded("probes", "exposure", t, context.setting.seed)
    noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    return diffuse(x_0, noise, context.full.alpha_bar[t].expand(len(x_0)))


@torch.inference_mode()
def squared_norms(context: ProbeContext, denoiser: Denoiser, x_t: Tensor, t: int) -> np.ndarray:
    """||eps||^2 of each image in float64, (N,), in batches that the network takes."""
    norms, level = [], denoiser.levels.at(t)
    for chunk in x_t.split(context.batch):
        # Exported graphs take whole batches only.
        padded = torch.cat([chunk, chunk.new_zeros(context.batch - len(chunk), *chunk.shape[1:])])
        prediction = denoiser.model(*denoiser.inputs(padded, level))[: len(chunk)]
        epsilon = denoiser.parts(prediction, chunk, level)[1]
        norms.append(epsilon.double().square().flatten(1).sum(1))
    return torch.cat(norms).cpu().numpy()


def energy_distance(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The unbiased estimate, and the influence of each pair of rows on it.

    Args:
        x, y: (n, D), independent of each other, n >= 2.

    Returns:
        (distance, influences (n,)). Where the distributions are equal the first-order influences
        vanish: the error made from them is too large and the estimate skewed, so that an interval
        wholly below 0 means nothing.
    """
    n, scale = len(x), np.sqrt(x.shape[1])
    across, within, beside = (_distances(a, b) / scale for a, b in ((x, y), (x, x), (y, y)))
    x_terms = 2 * across.mean(1) - 2 * within.sum(1) / (n - 1)
    y_terms = 2 * across.mean(0) - 2 * beside.sum(1) / (n - 1)
    value = 2 * across.mean() - (within.sum() + beside.sum()) / (n * (n - 1))
    return float(value), (x_terms - x_terms.mean()) + (y_terms - y_terms.mean())


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances of all rows, (n, m); those of a row to itself are exactly zero."""
    from scipy.spatial.distance import cdist

    return cdist(a.astype(np.float64), b.astype(np.float64))


def _mean(values: np.ndarray) -> tuple[float, np.ndarray]:
    """A mean and the influence of each value on it."""
    mean = float(values.mean())
    return mean, values - mean
