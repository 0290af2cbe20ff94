"""The noise of each image, from its index alone.

Image i is made from a generator seeded by (seed, i) alone, so it does not depend on its batch
mates and has the same noise in full precision and quantized (common random numbers).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.system.random import seeded


def image_generators(stream: str, seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """One generator for each image; `stream` separates images from calibration."""
    return [seeded(stream, seed, index) for index in indices]


def normal(
    shape: Sequence[int], generators: Sequence[torch.Generator], device: str | torch.device
) -> Tensor:
    """Standard normal numbers for each image from its generator, float32 (B, *shape)."""
    return torch.stack([torch.randn(*shape, generator=g) for g in generators]).to(device)


def uniform_labels(
    classes: int, generators: Sequence[torch.Generator], device: str | torch.device
) -> Tensor:
    """A label for each image from its generator, uniform over the classes, int64 (B,)."""
    return torch.stack([torch.randint(classes, (), generator=g) for g in generators]).to(device)
