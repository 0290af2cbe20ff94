"""The calibration of a network in a loop: what the loop itself gives it, from start to end.

All timesteps, the prompts of the set and both halves of the guidance are in it, as the pipeline
calls its network with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench.core.cell import Draw
from bench.core.loops import Loop
from bench.models.samplers.trajectories import KEPT


class LoopTrajectories:
    """The calibration of a draw of a loop, from noise that no measured image has.

    Args:
        loop: samples.
        draw: how; its batch is that of each call of the loop.
        count: trajectories, rounded up to whole batches.

    Attributes:
        shape: (rows, ...) of the first input of each evaluation.
        place, plain: folders for what the calibration leads to, as of `Calibration`.
        kept: inputs of the network, the first, one of the middle, and one near the end.
    """

    place: Path | None = None
    plain: Path | None = None

    def __init__(self, loop: Loop, draw: Draw, count: int) -> None:
        self.loop, self.draw, self.count = loop, draw, count
        rows = loop.rows(draw)
        self.shape: tuple[int, ...] = tuple(loop.example_inputs(rows)[0].shape)
        self.kept: list[tuple[Tensor, ...]] = []

    def __call__(self, model: Callable[..., Tensor]) -> str:
        """Sample the trajectories with a network; the SHA-256 of all that it was given."""
        hashed, calls = hashlib.sha256(), self.loop.calls(self.draw)
        wanted = [round((1 - share) * (calls - 1)) for share in KEPT]
        self.kept, seen = [], 0

        def noted(*tensors: Tensor) -> Tensor:
            nonlocal seen
            for tensor in tensors:
                hashed.update(tensor.cpu().contiguous().float().numpy().tobytes())
            if seen in wanted:
                # Tensors of inference mode could not be kept with the graph.
                with torch.inference_mode(False):
                    self.kept.append(tuple(tensor.clone() for tensor in tensors))
            seen += 1
            return model(*tensors)

        for start in range(0, self.count, self.draw.batch):
            indices = range(start, start + self.draw.batch)
            self.loop.latents(noted, "calibration", self.draw, indices)
        return hashed.hexdigest()
