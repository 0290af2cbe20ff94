"""From a checkpoint to the images of a cell, computed once and kept.

    checkpoint -> denoiser -> (calibrate, quantize) -> images

Images are cached under content keys, shard by shard (one batch each), so that a killed run goes on
where it stopped. Torch is imported only when something must be computed.
"""

from __future__ import annotations

import functools
import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core import extensions
from bench.core.cell import Cell, Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.protocols import Quantized
from bench.core.record import Coverage, Host, coverage_from_json, to_json
from bench.core.shards import Shards
from bench.evaluation import keys
from bench.system import artifacts, devices
from bench.system.timing import alternate

if TYPE_CHECKING:
    from bench.models.samplers.trajectories import Trajectories

CALIBRATION, COVERAGE = "calibration.txt", "coverage.json"

Progress = Callable[[str, int], None]


class Stages:
    """The stages before the measurements, on this machine.

    Args:
        host: fingerprint of this machine.
        cache: the cache folder.
        progress: called as (what is going on, batches sampled since the last call).

    Attributes:
        seconds: wall time by stage since it was last cleared.
    """

    def __init__(self, host: Host, cache: Path, progress: Progress) -> None:
        self.host, self.cache, self.progress = host, cache, progress
        self.seconds: dict[str, float] = {}
        self._loaded = functools.lru_cache(maxsize=1)(self._load)

    def denoiser(self, cell: Cell) -> Denoiser:
        """The full-precision network of a cell; InputError where it cannot be loaded."""
        return self._loaded(json.dumps(asdict(cell.checkpoint)))

    def missing(self, cell: Cell) -> int:
        """Batches of images that are not in the cache."""
        folder = self.folder(cell)
        return sum(not (folder / f"{k:05d}.npy").exists() for k in range(shards(cell)))

    def sample_strip(self, cell: Cell, count: int = 16) -> np.ndarray:
        """The first images of a cell side by side, uint8 (H, count * W, C)."""
        # Of the first files alone: the others need not be there.
        count = min(count, cell.draw.images)
        images = self.images(replace(cell, draw=replace(cell.draw, images=count)))[:count]
        return np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1)

    def forward_seconds(self, cell: Cell) -> float:
        """Seconds of one full-precision forward pass of a batch here, median of three."""
        import torch

        full = self.denoiser(cell)
        x_t = torch.zeros(cell.draw.batch, *full.shape, device=full.device)
        t = torch.zeros(cell.draw.batch, dtype=torch.int64, device=full.device)
        with torch.inference_mode():
            call = functools.partial(full.model, x_t, t)
            seconds = alternate({"": call}, rounds=3, warm=1, device=self.host.device)
        return statistics.median(seconds[""])

    def folder(self, cell: Cell) -> Path:
        """Where the images of a cell are kept; it does not depend on their number."""
        return self.cache / "images" / keys.of_images(cell, self.host)

    def _load(self, checkpoint_json: str) -> Denoiser:
        checkpoint = Checkpoint(**json.loads(checkpoint_json))
        loaded = self.timed("load", extensions.lookup("sources", checkpoint.source), checkpoint)
        return devices.placed(loaded, self.host.device)

    def timed(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function and count its wall time."""
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def calibration(self, cell: Cell) -> Trajectories:
        """The calibration of a cell, which all backends share, and where its result is kept."""
        from bench.models.samplers.trajectories import Trajectories

        sampler = extensions.lookup("samplers", cell.draw.sampler)
        full, count = self.denoiser(cell), cell.scheme.calibration
        trajectories = Trajectories(full, cell.draw, sampler, count)
        trajectories.place = self.cache / "quantized" / keys.of_calibration(cell, self.host)
        return trajectories

    def executed(self, cell: Cell) -> Quantized:
        """The network as the cell's backend executes it."""
        full = self.denoiser(cell)
        self.progress(f"{cell}: calibrating" if not cell.scheme.is_float else f"{cell}", 0)
        trajectories = self.calibration(cell)
        backend = extensions.lookup("backends", cell.backend)()
        made: Quantized = self.timed("quantize", backend, full, cell.scheme, trajectories)
        for name, text in ((CALIBRATION, made.calibration), (COVERAGE, to_json(made.coverage))):
            path = self.folder(cell) / name
            artifacts.save_text(path, _key(path), text)
        return made

    def coverage(self, cell: Cell) -> tuple[Coverage, str]:
        """The coverage of a cell and the SHA-256 of its calibration, "" for none."""
        paths = [self.folder(cell) / name for name in (CALIBRATION, COVERAGE)]
        calibration, text = (artifacts.load_text(path, _key(path)) for path in paths)
        if calibration is None or text is None:
            made = self.executed(cell)
            return made.coverage, made.calibration
        return coverage_from_json(text), calibration

    def images(self, cell: Cell) -> Shards:
        """All images of a cell, uint8 (N, C, H, W), index order, on disk."""
        folder, denoiser = self.folder(cell), None
        paths = [folder / f"{k:05d}.npy" for k in range(shards(cell))]
        shape = (cell.draw.batch, None, None, None)
        for k, path in enumerate(paths):
            if artifacts.load_array(path, _key(path), shape, np.uint8) is None:
                denoiser = denoiser or self.executed(cell).denoiser
                self.progress(f"{cell}: sampling", 0)
                shard = self.timed("sample", self._sample, cell, denoiser, k)
                artifacts.save_array(path, _key(path), shard)
                self.progress(f"{cell}: sampling", 1)
        return Shards(paths, cell.draw.images, loader(folder.name))

    def _sample(self, cell: Cell, denoiser: Denoiser, shard: int) -> np.ndarray:
        from bench.models.samplers.noise import image_generators

        indices = range(shard * cell.draw.batch, (shard + 1) * cell.draw.batch)
        generators = image_generators("images", cell.draw.seed, indices)
        sampler = extensions.lookup("samplers", cell.draw.sampler)
        found: np.ndarray = sampler(denoiser, generators, cell.draw).numpy()
        if found.dtype != np.uint8 or found.ndim != 4 or len(found) != cell.draw.batch:
            raise RuntimeError(
                f"sampler {cell.draw.sampler} gave {found.dtype} {list(found.shape)}, not uint8 "
                f"(B, C, H, W) with B of {cell.draw.batch}"
            )
        return found


def _key(path: Path) -> str:
    """What binds a file of a cell's folder to its digest: the key of the folder, and its name."""
    return f"{path.parent.name} {path.name}"


def shards(cell: Cell) -> int:
    """How many files the images of a cell fill, a batch each."""
    return -(-cell.draw.images // cell.draw.batch)


def loader(key: str) -> Callable[[Path], np.ndarray]:
    """What reads the files kept under a key: their arrays, each held against its digest.

    It raises `artifacts.Lost` for a file that is gone or damaged by now.
    """

    def load(path: Path) -> np.ndarray:
        content = artifacts.read(path, f"{key} {path.name}")
        if content is None:
            raise artifacts.Lost(path)
        found: np.ndarray = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        return found

    return load
