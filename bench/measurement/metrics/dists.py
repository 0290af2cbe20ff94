"""DISTS: structure and texture of an image against those of its twin (Ding et al. 2020).

    D = 1 - sum over layers l and channels c of alpha_lc t_lc + beta_lc s_lc

with the similarity of texture t = (2 mu_x mu_y + c_1) / (mu_x^2 + mu_y^2 + c_1) of the means and
that of structure s = (2 sigma_xy + c_2) / (sigma_x^2 + sigma_y^2 + c_2) of the (co)variances over
all positions, c_1 = c_2 = 1e-6. The layers are the image in 0..1 and the outputs of five stages
of VGG-16, in which a Hanning window over squares (L2 pooling) stands for each maximum. alpha and
beta, which sum to 1, are the authors'. 0 is equal. Images are taken at their own size, where the
authors shrink larger ones to 256 pixels; grey ones as three equal channels.

The covariance is taken from centred values, where the authors' code subtracts products of means.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from bench.measurement.metrics import backbones, identities
from bench.measurement.metrics.paired import Likeness

if TYPE_CHECKING:
    from torch import Tensor, nn

BACKBONE = "vgg16"
# Indices of the rectifiers that end the stages, and of the maxima that are replaced.
STAGES, POOLS = (3, 8, 15, 22, 29), (4, 9, 16, 23)
CHANNELS = (3, 64, 128, 256, 512, 512)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONSTANT = 1e-6
# Added to sums of squares before the root.
TINY = 1e-12


@functools.cache
def weights() -> tuple[Tensor, Tensor]:
    """alpha and beta as in the package `DISTS-pytorch`, (1, 1475, 1, 1) each."""
    import torch

    state = torch.load(identities.weights("dists"), map_location="cpu", weights_only=True)
    return state["alpha"], state["beta"]


def distances(
    images: Tensor, twins: Tensor, layers: nn.Sequential, alpha: Tensor, beta: Tensor
) -> Tensor:
    """DISTS of each image to its twin, float64 (B,).

    Args:
        images, twins: float32 (B, 3, H, W) in 0..1.
        layers: the convolutional layers of VGG-16.
        alpha, beta: weights of texture and structure, (1, 1475, 1, 1) each.
    """
    import torch

    whole = (alpha.sum() + beta.sum()).double()
    shares = [(w.double().flatten() / whole).split(CHANNELS) for w in (alpha, beta)]
    both = torch.cat([images, twins])
    total = _unlikeness(both, shares[0][0], shares[1][0])
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    x = (both - mean) / deviation
    for index, layer in enumerate(layers):
        x = _pooled(x) if index in POOLS else layer(x)
        if index in STAGES:
            stage = 1 + STAGES.index(index)
            total = total + _unlikeness(x, shares[0][stage], shares[1][stage])
            if index == STAGES[-1]:
                break
    return total


def _unlikeness(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The share of one layer (2 B, C, H, W) in D, twins being the second half; float64 (B,)."""
    means = x.mean((2, 3), keepdim=True)
    centred = x - means
    mean_x, mean_y = means.flatten(1).double().chunk(2)
    variance_x, variance_y = centred.square().mean((2, 3)).double().chunk(2)
    covariance = (centred[: len(x) // 2] * centred[len(x) // 2 :]).mean((2, 3)).double()
    texture = (2 * mean_x * mean_y + CONSTANT) / (mean_x**2 + mean_y**2 + CONSTANT)
    structure = (2 * covariance + CONSTANT) / (variance_x + variance_y + CONSTANT)
    return (1 - texture) @ alpha + (1 - structure) @ beta


def _pooled(x: Tensor) -> Tensor:
    """The root of squares under a Hanning window of 3 x 3 pixels, every second position."""
    import torch
    from torch.nn import functional

    edge = torch.tensor([0.5, 1.0, 0.5])
    window = torch.outer(edge, edge) / 4
    channels = x.shape[1]
    kernel = window.expand(channels, 1, 3, 3)
    sums = functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=channels)
    return (sums + TINY).sqrt()


class Dists(Likeness):
    """Mean DISTS to the twins: `dists@N`."""

    name = "dists"
    better = "lower"
    # torch has threads of its own.
    parallel = False

    def __init__(self) -> None:
        backbones.find(BACKBONE)
        identities.weights(self.name)

    def function(self, images: np.ndarray, twins: np.ndarray) -> np.ndarray:
        """DISTS of uint8 images (B, 1 or 3, H, W) to their twins, float64 (B,)."""
        import torch

        with torch.inference_mode():
            pair = backbones.colours(images), backbones.colours(twins)
            return distances(*pair, backbones.layers(BACKBONE), *weights()).numpy()
