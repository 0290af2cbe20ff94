"""The sampling trajectories on which a quantized network is calibrated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.protocols import Sampler
from bench.models.samplers.noise import image_generators


class Trajectories:
    """The calibration of a draw: its own sampling, from noise that no measured image has.

    Args:
        denoiser: whose network is replaced by the one that is called.
        draw: how to sample; its batch is that of each evaluation.
        sampler: the draw's.
        count: trajectories, rounded up to whole batches.

    Attributes:
        shape: (B, C, H, W) of each network input.
        place: folder for what the calibration leads to.
    """

    place: Path | None = None

    def __init__(self, denoiser: Denoiser, draw: Draw, sampler: Sampler, count: int) -> None:
        self.denoiser, self.draw, self.sampler, self.count = denoiser, draw, sampler, count
        self.shape: tuple[int, ...] = (draw.batch, *denoiser.shape)

    def __call__(self, model: Callable[[Tensor, Tensor], Tensor]) -> str:
        """Sample the trajectories with a network; the SHA-256 of all that it was given."""
        size, hashed = self.draw.batch, hashlib.sha256()

        def note(*inputs: Tensor) -> None:
            for tensor in inputs:
                hashed.update(tensor.cpu().contiguous().numpy().tobytes())

        for start in range(0, self.count, size):
            generators = image_generators(
                "calibration", self.draw.seed, range(start, start + size)
            )
            executed = replace(self.denoiser, model=cast("torch.nn.Module", model))
            self.sampler(executed, generators, self.draw, note)
        return hashed.hexdigest()
