"""LPIPS: the distance of an image to its twin in the features of a network (Zhang et al. 2018).

    d = sum over layers l of the mean over positions of sum_c w_lc (x_lc - y_lc)^2

x_l and y_l are what comes out of the rectifiers that end five stages of AlexNet (`lpips`, the
authors' choice to measure with) or VGG-16 (`lpips_vgg`), divided at each position by their norm
over the channels; w are version 0.1 of the weights that fit what people said of pairs of patches
of 64 pixels. 0 is equal. Grey images are taken as three equal channels, and images of any size as
they are; below 31 pixels AlexNet has no output.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from bench.measurement.metrics import backbones, identities
from bench.measurement.metrics.paired import Likeness, require_size

if TYPE_CHECKING:
    from torch import Tensor, nn

# Indices of the rectifiers whose outputs are compared.
STAGES = {"alexnet": (1, 4, 7, 9, 11), "vgg16": (3, 8, 15, 22, 29)}
LEAST_SIZE = {"alexnet": 31, "vgg16": 16}
# Means and deviations of ImageNet's pixels on the scale -1..1.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
TINY = 1e-10


@functools.cache
def heads(metric: str) -> list[Tensor]:
    """The weights of the channels by stage, (1, C, 1, 1), from the package `lpips`."""
    import torch

    state = torch.load(identities.weights(metric), map_location="cpu", weights_only=True)
    return [state[f"lin{k}.model.1.weight"] for k in range(len(state))]


def distances(
    images: Tensor, twins: Tensor, layers: nn.Sequential, stages: tuple[int, ...], w: list[Tensor]
) -> Tensor:
    """LPIPS of each image to its twin, float64 (B,).

    Args:
        images, twins: float32 (B, 3, H, W) in 0..1.
        layers: the convolutional layers of the network.
        stages: indices of those whose outputs are compared.
        w: weights of the channels for each stage.
    """
    import torch

    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
    x = (2 * torch.cat([images, twins]) - 1 - shift) / scale
    total = torch.zeros(len(images), dtype=torch.float64)
    for index, layer in enumerate(layers):
        x = layer(x)
        if index in stages:
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + TINY)
            apart = (unit[: len(images)] - unit[len(images) :]).square()
            total += (apart * w[stages.index(index)]).sum(1).mean((1, 2)).double()
            if index == stages[-1]:
                break
    return total


class Lpips(Likeness):
    """Mean LPIPS of AlexNet to the twins: `lpips@N`."""

    name = "lpips"
    better = "lower"
    backbone = "alexnet"
    # torch has threads of its own.
    parallel = False

    def __init__(self) -> None:
        backbones.find(self.backbone)
        identities.weights(self.name)

    def function(self, images: np.ndarray, twins: np.ndarray) -> np.ndarray:
        """LPIPS of uint8 images (B, 1 or 3, H, W) to their twins, float64 (B,)."""
        import torch

        require_size(self.name, images, LEAST_SIZE[self.backbone])
        layers, stages = backbones.layers(self.backbone), STAGES[self.backbone]
        with torch.inference_mode():
            pair = backbones.colours(images), backbones.colours(twins)
            return distances(*pair, layers, stages, heads(self.name)).numpy()


class LpipsVgg(Lpips):
    """Mean LPIPS of VGG-16 to the twins: `lpips_vgg@N`."""

    name = "lpips_vgg"
    backbone = "vgg16"
