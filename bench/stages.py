"""What each stage yields for one cell, computed once and kept.

    checkpoint -> denoiser -> (calibrate, quantize) -> images -> features

Images and features are cached under content keys, shard by shard (one batch each), so that a
killed run goes on where it stopped. Torch is imported only when something must be computed.
"""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import devices, store, tables
from bench.features import pretrained
from bench.host import code_hash
from bench.protocols import Denoiser, Features
from bench.record import Coverage, Host, coverage_from_json, to_json
from bench.shards import Shards
from bench.spec import Cell, Checkpoint, content_key
from bench.timing import alternate

if TYPE_CHECKING:
    from bench.sampling import Trajectories

IMAGE_CODE = (
    "networks.py",
    "devices.py",
    "components.py",
    "hub.py",
    "sources",
    "sampling.py",
    "quant",
)
FEATURE_CODE = (*IMAGE_CODE, "features")
# Numbers of the libraries that only features and metrics use do not change images.
IMAGE_LIBRARIES = ("torch", "torchao", "diffusers", "cuda", "cudnn")

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
        libraries = {name: host.versions.get(name, "") for name in IMAGE_LIBRARIES}
        self.image_versions = {**host.arithmetic, **libraries, "code": code_hash(IMAGE_CODE)}
        self.feature_versions = {**self.image_versions, "code": code_hash(FEATURE_CODE)}
        self._loaded = functools.lru_cache(maxsize=1)(self._load)

    def denoiser(self, cell: Cell) -> Denoiser:
        """The full-precision network of a cell; InputError where it cannot be loaded."""
        return self._loaded(json.dumps(asdict(cell.checkpoint)))

    def missing(self, cell: Cell) -> int:
        """Batches of images that are not in the cache."""
        folder = self.folder(cell)
        return sum(not (folder / f"{k:05d}.npy").exists() for k in range(_shards(cell)))

    def sample_strip(self, cell: Cell, count: int = 16) -> np.ndarray:
        """The first images of a cell side by side, uint8 (H, count * W, C)."""
        images = self.images(cell)[:count]
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
        return self.cache / "images" / self._image_key(cell)

    def _image_key(self, cell: Cell) -> str:
        draw = {name: value for name, value in asdict(cell.draw).items() if name != "images"}
        return content_key(
            checkpoint=cell.checkpoint.content(),
            scheme=asdict(cell.scheme),
            backend=cell.backend,
            draw=draw,
            versions=self.image_versions,
        )

    def _load(self, checkpoint_json: str) -> Denoiser:
        checkpoint = Checkpoint(**json.loads(checkpoint_json))
        loaded = self.timed("load", tables.lookup("sources", checkpoint.source), checkpoint)
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
        from bench.sampling import Trajectories

        sampler = tables.lookup("samplers", cell.draw.sampler)
        full, count = self.denoiser(cell), cell.scheme.calibration
        trajectories = Trajectories(full, cell.draw, sampler, count)
        trajectories.place = self.cache / "quantized" / self._image_key(replace(cell, backend=""))
        return trajectories

    def executed(self, cell: Cell) -> tuple[Denoiser, Coverage, str]:
        """The network as the cell's backend executes it, its coverage and calibration hash."""
        full = self.denoiser(cell)
        self.progress(f"{cell}: calibrating" if not cell.scheme.is_float else f"{cell}", 0)
        trajectories = self.calibration(cell)
        backend = tables.lookup("backends", cell.backend)()
        denoiser, coverage = self.timed("quantize", backend, full, cell.scheme, trajectories)
        folder = self.folder(cell)
        store.save_text(folder / "calibration.txt", trajectories.digest)
        store.save_text(folder / "coverage.json", to_json(coverage))
        return denoiser, coverage, trajectories.digest

    def coverage(self, cell: Cell) -> tuple[Coverage, str]:
        """The coverage of a cell and the SHA-256 of its calibration, "" for none."""
        folder = self.folder(cell)
        try:
            calibration = (folder / "calibration.txt").read_text(encoding="utf-8")
            text = (folder / "coverage.json").read_text(encoding="utf-8")
            return coverage_from_json(text), calibration
        except (OSError, ValueError):
            _, coverage, calibration = self.executed(cell)
            return coverage, calibration

    def images(self, cell: Cell) -> Shards:
        """All images of a cell, uint8 (N, C, H, W), index order, on disk."""
        folder, denoiser = self.folder(cell), None
        paths = [folder / f"{k:05d}.npy" for k in range(_shards(cell))]
        for k, path in enumerate(paths):
            if store.load_array(path) is None:
                denoiser = denoiser or self.executed(cell)[0]
                self.progress(f"{cell}: sampling", 0)
                shard = self.timed("sample", self._sample, cell, denoiser, k)
                store.save_array(path, shard)
                self.progress(f"{cell}: sampling", 1)
        return Shards(paths, cell.draw.images)

    def _sample(self, cell: Cell, denoiser: Denoiser, shard: int) -> np.ndarray:
        from bench.sampling import image_generators

        indices = range(shard * cell.draw.batch, (shard + 1) * cell.draw.batch)
        generators = image_generators("images", cell.draw.seed, indices)
        sampler = tables.lookup("samplers", cell.draw.sampler)
        return sampler(denoiser, generators, cell.draw).numpy()

    def features(self, cell: Cell, extractor_name: str) -> Features:
        """The features of a cell's images."""
        # Weights that a user chose are no part of the code or of a library's version.
        versions = self.feature_versions | pretrained.versions(extractor_name)
        key = content_key(images=self.folder(cell).name, versions=versions)
        folder = self.cache / "features" / key / extractor_name
        images, paths = self.images(cell), []
        for k in range(_shards(cell)):
            batch = images[k * cell.draw.batch : (k + 1) * cell.draw.batch]
            path = folder / f"{k:05d}-{len(batch)}.npy"
            if store.load_array(path) is None:
                self.progress(f"{cell}: features", 0)
                shard = self.timed("features", self._extract, extractor_name, batch)
                store.save_array(path, shard)
            paths.append(path)
        version = tables.lookup("extractors", extractor_name).version
        values = Shards(paths, len(images))
        return Features(extractor_name, version, values, np.arange(len(values)))

    def _extract(self, extractor_name: str, images: np.ndarray) -> np.ndarray:
        import torch

        return extractor(extractor_name)(torch.from_numpy(images)).numpy()


def _shards(cell: Cell) -> int:
    return -(-cell.draw.images // cell.draw.batch)


@functools.cache
def extractor(name: str) -> Any:
    """The extractor of a name, with its weights."""
    return tables.lookup("extractors", name)()
