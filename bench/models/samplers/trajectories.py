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
from bench.core.denoiser import Denoised, Denoiser
from bench.core.noise_levels import Level
from bench.core.protocols import Sampler
from bench.models.samplers.drawing import Batch
from bench.models.samplers.noise import image_generators

KEPT = (1.0, 0.5, 0.1)  # shares of the noise levels


class Trajectories:
    """The calibration of a draw: its own sampling, from noise that no measured image has.

    Args:
        denoiser: whose network is replaced by the one that is called.
        draw: how to sample; its batch is that of each evaluation.
        sampler: the draw's.
        count: trajectories, rounded up to whole batches.

    Attributes:
        shape: (B, C, H, W) of x at each evaluation; B is twice the draw's batch under guidance.
        place: folder for what the calibration leads to.
        plain: folder for what it leads to without the methods of the scheme.
        kept: inputs of the network: the first at or below each share of the noise levels.
    """

    place: Path | None = None
    plain: Path | None = None

    def __init__(self, denoiser: Denoiser, draw: Draw, sampler: Sampler, count: int) -> None:
        self.denoiser, self.draw, self.sampler, self.count = denoiser, draw, sampler, count
        self.shape: tuple[int, ...] = (draw.evaluated, *denoiser.shape)
        self.kept: list[tuple[Tensor, ...]] = []

    def __call__(self, model: Callable[..., Tensor]) -> str:
        """Sample the trajectories with a network; the SHA-256 of all that it was given."""
        executed = replace(self.denoiser, model=cast("torch.nn.Module", model))
        hashed, size = hashlib.sha256(), self.draw.batch
        wanted = [round(share * len(executed.levels)) for share in KEPT]
        self.kept = []
        for start in range(0, self.count, size):
            indices = range(start, start + size)
            generators = image_generators("calibration", self.draw.seed, indices)
            batch = Batch(executed, self.sampler, generators, self.draw)

            def noted(x: Tensor, level: Level, batch: Batch = batch) -> Denoised:
                inputs = batch.inputs(x, level)
                for tensor in inputs:
                    hashed.update(tensor.cpu().contiguous().numpy().tobytes())
                if wanted and level.index <= wanted[0]:
                    wanted.pop(0)
                    # Tensors of inference mode could not be kept with the graph.
                    with torch.inference_mode(False):
                        self.kept.append(tuple(tensor.clone() for tensor in inputs))
                return batch.denoise(x, level)

            batch.latents(noted)
        return hashed.hexdigest()
