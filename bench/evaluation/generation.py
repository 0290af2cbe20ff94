"""From a checkpoint to the images of a cell: found where they are kept, else made and kept.

    checkpoint -> denoiser -> (calibrate, quantize) -> images

Images are cached under content keys, shard by shard (one batch each), so that a killed run goes on
where it stopped, and several processes may make the images of one cell. Torch is imported only
when something must be computed.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bench.core import extensions
from bench.core.cell import Cell, Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.images import ImageSet
from bench.core.progress import SAMPLING, Progress, Steps, finished
from bench.core.protocols import Quantized
from bench.core.record import Coverage, coverage_from_json, to_json
from bench.core.shards import Shards
from bench.evaluation import back_off, manifests
from bench.system import artifacts, claims, devices
from bench.system.timing import Stopwatch, alternate

if TYPE_CHECKING:
    from bench.core.protocols import Calibration
    from bench.evaluation.resolved import ResolvedImages

CALIBRATION, COVERAGE = "calibration.txt", "coverage.json"


class Generation:
    """Makes images on this machine. The checkpoint that was loaded last stays in memory, and so
    does the network that was made last of it, as long as images of it are missing.

    Args:
        device: where networks are evaluated, from `devices.find`.
        watch: counts the time of the stages load, quantize and sample.
    """

    def __init__(self, device: str, watch: Stopwatch | None = None) -> None:
        self.device, self.watch = device, watch or Stopwatch()
        self.denoiser = functools.lru_cache(maxsize=1)(self._load)
        self._last: tuple[Path, Denoiser] | None = None

    def _load(self, checkpoint: Checkpoint) -> Denoiser:
        """The full-precision network of a checkpoint; InputError where it cannot be loaded."""
        source = extensions.lookup("sources", checkpoint.source)
        return devices.placed(self.watch.timed("load", source, checkpoint), self.device)

    def sample_strip(self, wanted: ResolvedImages, count: int = 16) -> np.ndarray:
        """The first images of a cell side by side, uint8 (H, count * W, C)."""
        # Only the first files are read: the others need not be there.
        images = finished(self.images(wanted.first(count))).images[:count]
        return np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1)

    def forward_seconds(self, cell: Cell) -> float:
        """Seconds of one full-precision forward pass of a batch here, median of three."""
        import torch

        full = self.denoiser(cell.checkpoint)
        with torch.inference_mode():
            rows = full.loop.rows(cell.draw) if full.loop else cell.draw.evaluated
            call = functools.partial(full.model, *full.example_inputs(rows))
            seconds = alternate({"": call}, rounds=3, warm=1, device=self.device)
        return statistics.median(seconds[""])

    def calibration(self, wanted: ResolvedImages) -> Calibration:
        """The calibration of a cell, which all backends share, and where its result is kept."""
        from bench.models.samplers.loop_trajectories import LoopTrajectories
        from bench.models.samplers.trajectories import Trajectories

        cell = wanted.cell
        full, count = self.denoiser(cell.checkpoint), cell.scheme.calibration
        trajectories: Calibration
        if full.loop is not None:
            trajectories = LoopTrajectories(full.loop, cell.draw, count)
        else:
            sampler = extensions.lookup("samplers", cell.draw.sampler)
            trajectories = Trajectories(full, cell.draw, sampler, count)
        trajectories.place, trajectories.plain = wanted.calibration, wanted.plain
        return trajectories

    def executed(self, wanted: ResolvedImages) -> Steps[Quantized]:
        """The network as the cell's backend executes it."""
        from bench.quant.stored import WEIGHTS_FILE

        cell = wanted.cell
        full = self.denoiser(cell.checkpoint)
        yield Progress(str(cell), "loaded" if cell.scheme.is_float else "calibrating")
        trajectories = self.calibration(wanted)
        full = self._handed_over(full, cell)
        backend = extensions.lookup("backends", cell.backend)()
        # Of several processes one calibrates, and the others read what it kept.
        is_kept = cell.scheme.is_float or artifacts.exists(wanted.calibration / WEIGHTS_FILE)
        with nullcontext() if is_kept else claims.claimed(wanted.calibration):
            words = full, cell.scheme, trajectories
            made: Quantized = self.watch.timed("quantize", backend, *words)
        if cell.scheme.also:
            # Backends that cannot are refused before (`bench.core.refusals`).
            made = cast("Any", backend).joined(made, wanted.key)
        if (loop := made.denoiser.loop) is not None:
            said = loop.told(is_quantized=not cell.scheme.is_float)
            told = {**made.coverage.told, "pipeline": said}
            made = replace(made, coverage=replace(made.coverage, told=told))
        for name, text in ((CALIBRATION, made.calibration), (COVERAGE, to_json(made.coverage))):
            path = wanted.folder / name
            artifacts.save_text(path, artifacts.bound(path), text)
        return made

    def _handed_over(self, full: Denoiser, cell: Cell) -> Denoiser:
        """The network as a backend is given it: of a pipeline, which may fill the memory, the
        only one, which the backend changes in place. Who needs it as it was loads it anew."""
        if full.loop is None or cell.is_reference:
            return full
        self.denoiser.cache_clear()
        return replace(full, is_spare=True)

    def coverage(self, wanted: ResolvedImages) -> Steps[tuple[Coverage, str]]:
        """The coverage of a cell and the SHA-256 of its calibration, "" for none."""
        paths = [wanted.folder / name for name in (CALIBRATION, COVERAGE)]
        calibration, text = (artifacts.load_text(path, artifacts.bound(path)) for path in paths)
        if calibration is None or text is None:
            made = yield from self.executed(wanted)
            return made.coverage, made.calibration
        return coverage_from_json(text), calibration

    def images(self, wanted: ResolvedImages) -> Steps[ImageSet]:
        """All images of a cell, index order, on disk; what is missing is sampled."""
        yield from self.make(wanted, range(wanted.batches))
        self._last = None
        shards = Shards(wanted.paths, wanted.cell.draw.images, artifacts.loader(wanted.key))
        digests = manifests.settle(wanted)
        batch = wanted.cell.draw.batch
        return ImageSet(shards, str(wanted.cell), wanted.key, batch=batch, digests=digests)

    def make(
        self, wanted: ResolvedImages, batches: Sequence[int], waits: bool = True
    ) -> Steps[None]:
        """Sample those of some batches of the images of a cell that are missing.

        Args:
            wanted: the images.
            batches: numbers of the batches.
            waits: whether to see to it that those are made, too, that other processes are at.

        Raises:
            OutOfMemory: a batch of that size does not fit.
        """
        cell = wanted.cell
        is_kept = functools.partial(_is_kept, batch=cell.draw.batch)
        paths = [wanted.path(k) for k in batches]
        with closing(claims.shared(paths, is_kept, waits)) as missing:
            for place, path in missing:
                try:
                    shard = yield from self._sampled(wanted, batches[place])
                except Exception as error:
                    if stop := back_off.out_of_memory(error, cell):
                        raise stop from None
                    raise
                artifacts.save_array(path, artifacts.bound(path), shard)
                yield Progress(str(cell), SAMPLING, batches=1)

    def _sampled(self, wanted: ResolvedImages, k: int) -> Steps[np.ndarray]:
        """Batch k by the network of the cell, which stays in memory for the next one."""
        if self._last is None or self._last[0] != wanted.folder:
            self._last = None
            self._last = wanted.folder, (yield from self.executed(wanted)).denoiser
        yield Progress(str(wanted.cell), SAMPLING)
        return self.watch.timed("sample", self._sample, wanted.cell, self._last[1], k)

    def _sample(self, cell: Cell, denoiser: Denoiser, shard: int) -> np.ndarray:
        from bench.models.samplers.drawing import images
        from bench.models.samplers.noise import image_generators

        indices = range(shard * cell.draw.batch, (shard + 1) * cell.draw.batch)
        if denoiser.loop is not None:
            made = denoiser.loop.images(denoiser.model, "images", cell.draw, indices)
            return np.asarray(made)
        generators = image_generators("images", cell.draw.seed, indices)
        sampler = extensions.lookup("samplers", cell.draw.sampler)
        sampled: np.ndarray = images(denoiser, sampler, generators, cell.draw).numpy()
        if sampled.dtype != np.uint8 or sampled.ndim != 4 or len(sampled) != cell.draw.batch:
            raise RuntimeError(
                f"sampler {cell.draw.sampler} gave {sampled.dtype} {list(sampled.shape)}, not "
                f"uint8 (B, C, H, W) with B of {cell.draw.batch}"
            )
        return sampled


def _is_kept(path: Path, batch: int) -> bool:
    """Whether a batch of images is kept, whole."""
    shape = (batch, None, None, None)
    return artifacts.load_array(path, artifacts.bound(path), shape, np.uint8) is not None
