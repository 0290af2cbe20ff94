"""Data whose noise is known exactly: mixtures of Gaussians like Fashion-MNIST, as networks.

`Gaussians` predicts E[eps | x_t] without error, so that whatever a measure says of it in sampling
is the sampler's own. For a single Gaussian `expected_gap` has the exposure gap of DDIM in closed
form. docs/experiments/exposure.py holds the measure against both.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.noise_levels import Level, NoiseLevels
from bench.system.random import seeded

SHAPE = (1, 28, 28)
# Directions of each Gaussian that have a variance of their own; the others share one.
RANK = 64
# Of the signal, where a wrong scale is put in.
LEAST = 0.1


class Gaussians(nn.Module):
    """The exact noise of data from a mixture of Gaussians: E[eps | x_t].

    Each has a mean m, RANK directions U with variances l, and a variance r of all others. At
    x = s x_0 + n eps, a component has the covariance U (s^2 l + n^2) U' + (s^2 r + n^2) of the
    rest, and E[eps | x, component] = n C^-1 (x - s m).

    Args:
        classes: images of each component, each (M, D), in [-1, 1].
        shares: the probability of each.
        levels: whose timesteps it is told.
    """

    def __init__(
        self, classes: Sequence[Tensor], shares: Sequence[float], levels: NoiseLevels
    ) -> None:
        super().__init__()
        self.levels, self.weights = levels, torch.tensor(shares).double()
        self.means = torch.stack([x.double().mean(0) for x in classes])
        found = [torch.linalg.eigh(torch.cov(x.double().T)) for x in classes]
        self.directions = torch.stack([vectors[:, -RANK:] for _, vectors in found])
        self.variances = torch.stack([values[-RANK:] for values, _ in found])
        self.rest = torch.stack([values[:-RANK].mean() for values, _ in found])

    @property
    def dimension(self) -> int:
        return self.means.shape[1]

    def draw(self, count: int) -> Tensor:
        """Images from the mixture, float32 (count, 1, 28, 28)."""
        generator = seeded("exposure", "mixture", count)
        chosen = torch.multinomial(self.weights, count, True, generator=generator)
        plain = torch.randn(count, self.dimension, generator=generator).double()
        images = []
        for k, z in zip(chosen.tolist(), plain, strict=True):
            along = self.directions[k].T @ z
            scaled = (self.variances[k].sqrt() - self.rest[k].sqrt()) * along
            images.append(self.means[k] + self.rest[k].sqrt() * z + self.directions[k] @ scaled)
        return torch.stack(images).float().view(-1, *SHAPE)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """E[eps | x_t] of a batch at one level, float32 like x."""
        level = self.levels.at(int(t[0]))
        s, n = level.signal, level.noise
        flat, predicted, scores = x.double().flatten(1), [], []
        for k, weight in enumerate(self.weights):
            centred = flat - s * self.means[k]
            along = centred @ self.directions[k]
            own, other = s**2 * self.variances[k] + n**2, s**2 * self.rest[k] + n**2
            outside = centred.square().sum(1) - along.square().sum(1)
            squares = (along.square() / own).sum(1) + outside / other
            logs = own.log().sum() + (self.dimension - RANK) * other.log()
            scores.append(weight.log() - (squares + logs) / 2)
            inverse = centred / other + (along * (1 / own - 1 / other)) @ self.directions[k].T
            predicted.append(n * inverse)
        posterior = torch.stack(scores).softmax(0)
        mean: Tensor = (posterior[:, :, None] * torch.stack(predicted)).sum(0)
        return mean.float().view_as(x)


def expected_gap(model: Gaussians, levels: Sequence[Level], scale: float = 1.0) -> np.ndarray:
    """The gap at each level of a single Gaussian and DDIM without bounds, in closed form, (L,).

    Along each direction a step multiplies x - s m by a number; that of x_T = N(0, I) is known.
    With `scale` the prediction is that times the exact one, in sampling and on real images, at the
    levels where the signal is above LEAST: below, x_0 is the error divided by hardly any signal.
    """
    own = torch.cat([model.variances[0], model.rest[0].expand(model.dimension - RANK)]).numpy()
    middle = model.means[0]
    inside = (model.directions[0].T @ middle).square().numpy()
    outside = (float(middle.square().sum()) - inside.sum()) / (model.dimension - RANK)
    # Squares of the mean's coordinates; those in the shared directions by their mean.
    mean = np.concatenate([inside, np.full(model.dimension - RANK, outside)])
    variance, gaps = np.ones_like(own), []
    # x - s m = plain + shift m, where plain is from the noise and shift from s_T m being missed.
    shift = -levels[0].signal * np.ones_like(own)
    for level, following in itertools.pairwise(levels):
        s, n = level.signal, level.noise
        total = s**2 * own + n**2
        slope = (scale if s > LEAST else 1.0) * n / total
        gaps.append(float((slope**2 * (variance + shift**2 * mean - total)).sum()))
        if following.index >= 0:
            # eps = slope (x - s m); x - n eps = s m + (1 - n slope)(x - s m).
            factor = following.signal / s * (1 - n * slope) + following.noise * slope
            variance, shift = variance * factor**2, shift * factor
    return np.array(gaps)


def clusters(images: Tensor, count: int = 10, rounds: int = 20) -> list[Tensor]:
    """Clusters of k-means, (M_k, D) each."""
    chosen = torch.randperm(len(images), generator=seeded("exposure", "clusters"))[:count]
    centres = images[chosen]
    for _ in range(rounds):
        nearest = torch.cdist(images, centres).argmin(1)
        centres = torch.stack([images[nearest == k].mean(0) for k in range(count)])
    return [images[nearest == k] for k in range(count)]
