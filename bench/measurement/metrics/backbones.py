"""Backbones of the learned metrics: the convolutions of AlexNet and VGG-16, trained on ImageNet.

The weights are torchvision's published files, checked by their SHA-256: in the folder that
`--backbones` or BENCH_BACKBONES names, else in `weights/` of the cache (`bench fetch lpips`), else
where torch.hub keeps what it downloaded. Nothing is downloaded here, and torch is imported only
where a network is built.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.system import disk

if TYPE_CHECKING:
    from torch import Tensor, nn

VARIABLE = "BENCH_BACKBONES"
SOURCE = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class File:
    """A published file of weights: its name and SHA-256, and the command that fetches it."""

    name: str
    digest: str
    fetched_by: str


FILES = {
    "alexnet": File(
        "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        "bench fetch lpips",
    ),
    "vgg16": File(
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "bench fetch dists",
    ),
}


def find(backbone: str) -> Path:
    """The file of weights of "alexnet" or "vgg16".

    Raises:
        InputError: it is nowhere, or has other content than published.
    """
    file = FILES[backbone]
    places = [Path(given)] if (given := os.environ.get(VARIABLE)) else _places()
    paths = [place / file.name for place in places]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(
            f"no weights of {backbone} at {paths[0]}: run `{file.fetched_by}` where there is a "
            f"network, or put {file.name} there, or name its folder by --backbones or {VARIABLE}"
        )
    _check(path, file, path.stat().st_mtime_ns)
    return path


def _places() -> list[Path]:
    """The cache, then torch.hub's folder as its manual gives it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    return [disk.cache_root() / "weights", hub]


@functools.cache
def _check(path: Path, file: File, changed: int) -> None:
    actual = disk.sha256(path)
    if actual != file.digest:
        raise InputError(
            f"{path} has SHA-256 {actual[:12]}..., the published {file.name} has "
            f"{file.digest[:12]}...: another or a damaged file; fetch it again"
        )


@functools.cache
def layers(backbone: str) -> nn.Sequential:
    """The convolutional layers of a backbone with its published weights, in evaluation mode.

    Raises:
        InputError: no weights.
    """
    import torch

    state = torch.load(find(backbone), map_location="cpu", weights_only=True)
    return built(backbone, state)


def built(backbone: str, state: Mapping[str, Tensor]) -> nn.Sequential:
    """The convolutional layers with given weights, named as in torchvision's network.

    On the meta device no weights are drawn first, which takes long and moves the random state.
    """
    import torch
    from torchvision import models

    with torch.device("meta"):
        network: Any = getattr(models, backbone)(weights=None).features
    prefix = "features."
    kept = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    network.load_state_dict(kept, assign=True)
    return network.eval().requires_grad_(False)


def colours(images: Any) -> Tensor:
    """uint8 (B, 1 or 3, H, W) as float32 (B, 3, H, W) in 0..1; grey becomes equal channels."""
    import torch

    return torch.from_numpy(images).expand(-1, 3, -1, -1).to(torch.float32) / 255
