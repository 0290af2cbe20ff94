"""Features of Inception-v3 of 2015 (Szegedy et al.), for FID, sFID and the inception score.

The network and every resizing are those of clean-fid (Parmar, Zhang and Zhu, CVPR 2022):

    clean               each channel by Pillow's bicubic filter in float to 299 x 299
    legacy_pytorch      bilinear without antialias, as pytorch-fid
    legacy_tensorflow   bilinear of TensorFlow 1 inside the network, as the original FID

What OpenAI's evaluator of ADM adds to FID is taken from the same network, resized as TensorFlow 1
does: `spatial`, the first 7 channels of `mixed_6/conv`, 17 x 17 positions, for sFID (Nash et al.
2021); and `classes`, probabilities from the 1008 logits without bias, for the inception score.

The weights are two files, found by option, environment or cache and checked by their SHA-256
(`bench fetch inception`). The TorchScript file is executed, so any other file is refused before.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import InputError
from bench.system import disk
from bench.system.quiet import quiet_import

SIZE, DIM, SPATIAL = 299, 2048, 7
VARIABLE = "BENCH_INCEPTION"
SCRIPT = "inception-2015-12-05.pt"
STATE = "pt_inception-2015-12-05-6726825d.pth"
SHA256 = {
    SCRIPT: "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    STATE: "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
}
URLS = {
    SCRIPT: "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/" + SCRIPT,
    STATE: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/" + STATE,
}


def find(name: str) -> Path:
    """The file of weights: in the folder or file that BENCH_INCEPTION names, else in the cache.

    Raises:
        InputError: it is not there, or has other content than published.
    """
    given = os.environ.get(VARIABLE)
    folder = Path(given) if given else disk.cache_root() / "weights"
    path = folder / name if folder.is_dir() or not given else folder
    if not path.is_file():
        raise InputError(
            f"no weights of Inception at {path}: run `bench fetch inception` where there is a "
            f"network, or put {name} there, or name its folder by --inception or {VARIABLE}"
        )
    digest = disk.sha256(path)
    if digest != SHA256[name]:
        raise InputError(
            f"{path} has SHA-256 {digest[:12]}..., the published {name} has "
            f"{SHA256[name][:12]}...: another or a damaged file; fetch it again"
        )
    return path


@functools.cache
def script() -> Any:
    """The TorchScript network of StyleGAN2-ADA's authors, which clean-fid uses."""
    return torch.jit.load(find(SCRIPT), map_location="cpu").eval()


@functools.cache
def network() -> nn.Module:
    """The network of pytorch-fid in evaluation mode."""
    inception = build()
    inception.load_state_dict(torch.load(find(STATE), map_location="cpu", weights_only=True))
    return inception.eval().requires_grad_(False)


def build() -> nn.Module:
    """Torchvision's Inception-v3 with the blocks in which the one of 2015 differs."""
    with quiet_import():
        from cleanfid import inception_pytorch as blocks
        from torchvision.models import inception_v3

    inception = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    inception.Mixed_5b = blocks.FIDInceptionA(192, pool_features=32)
    inception.Mixed_5c = blocks.FIDInceptionA(256, pool_features=64)
    inception.Mixed_5d = blocks.FIDInceptionA(288, pool_features=64)
    inception.Mixed_6b = blocks.FIDInceptionC(768, channels_7x7=128)
    inception.Mixed_6c = blocks.FIDInceptionC(768, channels_7x7=160)
    inception.Mixed_6d = blocks.FIDInceptionC(768, channels_7x7=160)
    inception.Mixed_6e = blocks.FIDInceptionC(768, channels_7x7=192)
    inception.Mixed_7b = blocks.FIDInceptionE_1(1280)
    inception.Mixed_7c = blocks.FIDInceptionE_2(2048)
    return inception


def stem(net: nn.Module, x: Tensor) -> Tensor:
    """Everything up to block Mixed_6c: (B, 3, 299, 299) -> (B, 768, 17, 17)."""
    x = _through(net, x, "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")
    x = functional.max_pool2d(x, kernel_size=3, stride=2)
    x = _through(net, x, "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    x = functional.max_pool2d(x, kernel_size=3, stride=2)
    x = _through(net, x, "Mixed_5b", "Mixed_5c", "Mixed_5d")
    return _through(net, x, "Mixed_6a", "Mixed_6b", "Mixed_6c")


def pooled(net: nn.Module, x: Tensor) -> Tensor:
    """Features (B, 2048) of prepared images (B, 3, 299, 299)."""
    x = _through(net, stem(net, x), "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c")
    return functional.adaptive_avg_pool2d(x, 1).flatten(1)


def _through(net: nn.Module, x: Tensor, *names: str) -> Tensor:
    for name in names:
        x = net.get_submodule(name)(x)
    return x


def resized(images: Tensor, mode: str) -> Tensor:
    """uint8 (B, 3, H, W) to float32 as clean-fid's mode resizes, values 0..255."""
    with quiet_import():
        from cleanfid.resize import build_resizer

    resize = build_resizer(mode)
    parts = [np.asarray(resize(image.permute(1, 2, 0).numpy())) for image in images]
    # Contiguous like clean-fid's batches: another layout takes a kernel with other rounding.
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).to(torch.float32).contiguous()


def tensorflow_resized(images: Tensor, size: int = SIZE) -> Tensor:
    """Bilinear as TensorFlow 1: pixel i of n takes the position i H / n, (B, 3, n, n) float32."""
    x = images.to(torch.float32)
    for axis in (2, 3):
        length = x.shape[axis]
        position = torch.arange(size, dtype=torch.float32) * (length / size)
        low = position.long().clamp(max=length - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = size
        part = (position - low).view(shape)
        high = (low + 1).clamp(max=length - 1)
        below = x.index_select(axis, low)
        x = below + (x.index_select(axis, high) - below) * part
    return x


class Inception:
    """The extractor `inception`, clean-fid's mode clean: uint8 (B, 1 or 3, H, W) to (B, 2048)."""

    version: int = 1
    dim: int = DIM
    mode = "clean"

    def __init__(self) -> None:
        find(STATE if self.mode in ("legacy_pytorch", "adm") else SCRIPT)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Extract.

        Raises:
            InputError: not uint8, or not of one (grey) or three (RGB) channels; no weights.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            shape = tuple(images.shape)
            raise InputError(f"features need uint8 (B, 1 or 3, H, W), not {images.dtype} {shape}")
        # TorchScript's optimizer rewrites a program after its first calls, which changes rounding.
        with torch.jit.optimized_execution(False):
            return self.extract(images.expand(-1, 3, -1, -1)).to(torch.float32)

    def extract(self, images: Tensor) -> Tensor:
        """Features of RGB images."""
        x = (resized(images, self.mode) - 128) / 128
        return script().layers(x).view(len(images), DIM)


class LegacyTensorflow(Inception):
    """Extractor `inception-legacy-tensorflow`: the resizing of the original FID."""

    mode = "legacy_tensorflow"

    def extract(self, images: Tensor) -> Tensor:
        """Features of RGB images."""
        # Scaled to 0..1 and back, to round as clean-fid does.
        x = images.to(torch.float32) / 255 * 255
        return script()(x, return_features=True).view(len(images), DIM)


class LegacyPytorch(Inception):
    """Extractor `inception-legacy-pytorch`: pytorch-fid."""

    mode = "legacy_pytorch"

    def extract(self, images: Tensor) -> Tensor:
        """Features of RGB images."""
        return pooled(network(), 2 * (resized(images, self.mode) / 255) - 1)


class Spatial(Inception):
    """Extractor `inception-spatial`, for sFID: positions, then channels, (B, 2023)."""

    mode = "adm"
    dim: int = SPATIAL * 17 * 17

    def extract(self, images: Tensor) -> Tensor:
        """Features of RGB images."""
        x = (tensorflow_resized(images) - 128) / 128
        maps = _through(network(), stem(network(), x), "Mixed_6d.branch1x1")[:, :SPATIAL]
        return maps.permute(0, 2, 3, 1).flatten(1)


class Classes(Inception):
    """Extractor `inception-classes`, for the inception score: probabilities (B, 1008)."""

    mode = "adm"
    dim: int = 1008

    def extract(self, images: Tensor) -> Tensor:
        """Probabilities of RGB images."""
        x = (tensorflow_resized(images) - 128) / 128
        net: Any = network()
        return (pooled(net, x) @ net.fc.weight.T).softmax(1)
