"""The order of the stages for one cell; the only module that knows it.

    checkpoint -> denoiser -> (calibrate, quantize) -> images -> features -> measurements -> record

Images, features and records are cached under content keys, shard by shard (one batch each), so a
killed run goes on where it stopped and a repeated one computes nothing. Torch is imported only
when something must be computed.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import names, real, stats, store, tables
from bench.errors import InputError
from bench.features import reference
from bench.host import code_hash
from bench.protocols import Denoiser, Evidence, Features
from bench.record import Coverage, Host, Measurement, Record, record_from_json, to_json
from bench.shards import Shards
from bench.spec import Cell, Checkpoint, content_key

IMAGE_CODE = ("networks.py", "hub.py", "sources", "sampling.py", "quant")
FEATURE_CODE = (*IMAGE_CODE, "features")
RECORD_CODE = (
    *FEATURE_CODE,
    *("metrics", "stats.py", "shards.py", "names.py", "real.py", "data", "pipeline.py"),
    "record.py",
    "spec.py",
)
# Numbers of the libraries that only features and metrics use do not change images.
IMAGE_LIBRARIES = ("torch", "torchao", "diffusers")

Progress = Callable[[str, int], None]


class Pipeline:
    """Runs cells on this machine.

    Args:
        host: fingerprint of this machine.
        cache: the cache folder.
        progress: called as (what is going on, batches sampled since the last call).
    """

    def __init__(
        self, host: Host, cache: Path, progress: Progress = lambda stage, done: None
    ) -> None:
        self.host, self.cache, self.progress = host, cache, progress
        self.seconds: dict[str, float] = {}
        arithmetic = {"isa": host.isa, "threads": str(host.threads)}
        libraries = {name: host.versions.get(name, "") for name in IMAGE_LIBRARIES}
        self.image_versions = {**arithmetic, **libraries, "code": code_hash(IMAGE_CODE)}
        self.feature_versions = {**self.image_versions, "code": code_hash(FEATURE_CODE)}
        self.record_versions = {**arithmetic, **host.versions, "code": code_hash(RECORD_CODE)}
        self._denoiser = functools.lru_cache(maxsize=1)(self._load)
        # Of a folder it hashes all images, and every look into the cache asks for it.
        self._digest = functools.cache(reference.digest)

    def cached(self, cell: Cell) -> Record | None:
        """The finished record of a cell, or None."""
        try:
            record = record_from_json(self._record_path(cell).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        # The name of a checkpoint is not part of its content: the caller's stands.
        return replace(record, cell=cell)

    def missing_batches(self, cell: Cell) -> int:
        """Batches that must still be sampled for a cell."""
        if self.cached(cell) or self.refusal(cell):
            return 0
        folder = self._image_folder(cell)
        return sum(not (folder / f"{k:05d}.npy").exists() for k in range(_shards(cell)))

    def refusal(self, cell: Cell) -> str | None:
        """Why the backend cannot run this cell here, or None."""
        return tables.lookup("backends", cell.backend)().refuses(cell.scheme, self.host)

    def check(self, cells: Sequence[Cell]) -> None:
        """Load what must be computed, so that bad input is found before hours of sampling.

        Raises:
            InputError: a checkpoint that cannot be loaded, more steps than timesteps, images of
                another size than the real ones, an extractor without its weights, or a scheme
                that does not fit a network.
        """
        for cell in cells:
            if self.cached(cell) or self.refusal(cell):
                continue
            full = self.denoiser(cell)
            if cell.draw.steps > len(full.alpha_bar):
                raise InputError(
                    f"card {cell.checkpoint.name!r} has {len(full.alpha_bar)} timesteps: lower "
                    f"--steps {cell.draw.steps}"
                )
            for name in cell.extractors:
                _extractor(name)
            real.check_images(cell, full)
            if cell.scheme.skip:
                from bench.quant.backends import layers

                layers(full, cell.scheme)

    def run(self, cell: Cell) -> Record:
        """Compute a cell, or take it from the cache. Only InputError and interrupts escape."""
        if record := self.cached(cell):
            return record
        if reason := self.refusal(cell):
            return Record(cell, self.host, "refused", None, (), {}, error=reason)
        self.seconds = {}
        try:
            measurements = self._measure(cell)
            coverage, calibration = self._coverage(cell)
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return Record(cell, self.host, "failed", None, (), self.seconds, error=reason[:500])
        record = Record(
            cell, self.host, "ok", coverage, measurements, dict(self.seconds), calibration
        )
        store.save_text(self._record_path(cell), to_json(record))
        return record

    def sample_strip(self, cell: Cell, count: int = 16) -> np.ndarray:
        """The first images of a cell side by side, uint8 (H, count * W, C)."""
        images = self._images(cell)[:count]
        return np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1)

    def forward_seconds(self, cell: Cell) -> float:
        """Seconds of one full-precision forward pass of a batch here, median of three."""
        import torch

        full = self.denoiser(cell)
        x_t = torch.zeros(cell.draw.batch, *full.shape)
        t = torch.zeros(cell.draw.batch, dtype=torch.int64)
        times = []
        with torch.inference_mode():
            for _ in range(4):
                start = time.perf_counter()
                full.model(x_t, t)
                times.append(time.perf_counter() - start)
        return sorted(times[1:])[1]

    def _record_path(self, cell: Cell) -> Path:
        dataset = cell.checkpoint.dataset
        found = {
            f"real {name}": self._digest(dataset, name, cell.real)
            for name in cell.extractors
            if reference.needs(cell.metrics, name)
        }
        return self.cache / "records" / f"{cell.key(self.record_versions | found)}.json"

    def _image_folder(self, cell: Cell) -> Path:
        draw = {name: value for name, value in asdict(cell.draw).items() if name != "images"}
        key = content_key(
            checkpoint=cell.checkpoint.content(),
            scheme=asdict(cell.scheme),
            backend=cell.backend,
            draw=draw,
            versions=self.image_versions,
        )
        return self.cache / "images" / key

    def denoiser(self, cell: Cell) -> Denoiser:
        """The full-precision network of a cell."""
        return self._denoiser(json.dumps(asdict(cell.checkpoint)))

    def _load(self, checkpoint_json: str) -> Denoiser:
        checkpoint = Checkpoint(**json.loads(checkpoint_json))
        return self._timed("load", tables.lookup("sources", checkpoint.source), checkpoint)

    def _timed(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def _executed(self, cell: Cell) -> tuple[Denoiser, Coverage, str]:
        """The network as the cell's backend executes it, its coverage and calibration hash."""
        full = self.denoiser(cell)
        self.progress(f"{cell}: calibrating" if not cell.scheme.is_float else f"{cell}", 0)
        from bench.sampling import Trajectories

        sampler = tables.lookup("samplers", cell.draw.sampler)
        trajectories = Trajectories(full, cell.draw, sampler, cell.scheme.calibration)
        backend = tables.lookup("backends", cell.backend)()
        denoiser, coverage = self._timed("quantize", backend, full, cell.scheme, trajectories)
        calibration = "" if cell.scheme.is_float else trajectories.digest.hexdigest()
        summary = {"coverage": asdict(coverage), "calibration": calibration}
        store.save_text(self._image_folder(cell) / "coverage.json", json.dumps(summary))
        return denoiser, coverage, calibration

    def _coverage(self, cell: Cell) -> tuple[Coverage, str]:
        try:
            text = (self._image_folder(cell) / "coverage.json").read_text(encoding="utf-8")
            data = json.loads(text)
        except (OSError, ValueError):
            _, coverage, calibration = self._executed(cell)
            return coverage, calibration
        skipped = tuple(tuple(pair) for pair in data["coverage"].pop("skipped"))
        return Coverage(**data["coverage"], skipped=skipped), data["calibration"]

    def _images(self, cell: Cell) -> Shards:
        """All images of a cell, uint8 (N, C, H, W), index order, on disk."""
        folder, denoiser = self._image_folder(cell), None
        paths = [folder / f"{k:05d}.npy" for k in range(_shards(cell))]
        for k, path in enumerate(paths):
            if store.load_array(path) is None:
                denoiser = denoiser or self._executed(cell)[0]
                self.progress(f"{cell}: sampling", 0)
                shard = self._timed("sample", self._sample, cell, denoiser, k)
                store.save_array(path, shard)
                self.progress(f"{cell}: sampling", 1)
        return Shards(paths, cell.draw.images)

    def _sample(self, cell: Cell, denoiser: Denoiser, shard: int) -> np.ndarray:
        from bench.sampling import image_generators

        indices = range(shard * cell.draw.batch, (shard + 1) * cell.draw.batch)
        generators = image_generators("images", cell.draw.seed, indices)
        sampler = tables.lookup("samplers", cell.draw.sampler)
        return sampler(denoiser, generators, cell.draw).numpy()

    def _features(self, cell: Cell, extractor_name: str) -> Features:
        key = content_key(images=self._image_folder(cell).name, versions=self.feature_versions)
        folder = self.cache / "features" / key / extractor_name
        images, paths = self._images(cell), []
        for k in range(_shards(cell)):
            batch = images[k * cell.draw.batch : (k + 1) * cell.draw.batch]
            path = folder / f"{k:05d}-{len(batch)}.npy"
            if store.load_array(path) is None:
                self.progress(f"{cell}: features", 0)
                shard = self._timed("features", self._extract, extractor_name, batch)
                store.save_array(path, shard)
            paths.append(path)
        version = tables.lookup("extractors", extractor_name).version
        values = Shards(paths, len(images))
        return Features(extractor_name, version, values, np.arange(len(values)))

    def _extract(self, extractor_name: str, images: np.ndarray) -> np.ndarray:
        import torch

        return _extractor(extractor_name)(torch.from_numpy(images)).numpy()

    def _measure(self, cell: Cell) -> tuple[Measurement, ...]:
        images, twins = self._images(cell), self._images(cell.reference)
        found: dict[str, Measurement] = {}
        for position, name in enumerate(cell.extractors):
            taken = real.of(cell, name)
            features = self._features(cell, name)
            twin_features = self._features(cell.reference, name)
            evidence = Evidence(images, twins, features, twin_features, *taken)
            twin = Evidence(twins, twins, twin_features, twin_features, *taken)
            for metric_name in cell.metrics:
                metric = tables.lookup("metrics", metric_name)()
                if metric.paired and cell.scheme.is_float:
                    continue
                # What looks at images alone is measured once, beside the first extractor.
                if names.kind(name) not in metric.kinds if metric.kinds else position:
                    continue
                self.progress(f"{cell}: {metric_name}", 0)
                if metric.paired:
                    value = self._timed("metrics", metric, evidence)
                    found[value.name] = value
                    continue
                value, terms = self._timed("metrics", metric.measure, evidence)
                found[value.name] = value
                if not cell.scheme.is_float:
                    before, twin_terms = self._timed("metrics", metric.measure, twin)
                    delta = _change(value, before, terms - twin_terms)
                    found[delta.name] = delta
        return tuple(found.values())


def _change(test: Measurement, reference: Measurement, terms: np.ndarray) -> Measurement:
    """Quantized minus full precision on the same noise, `terms` being what each pair adds."""
    value = test.value - reference.value
    low, high = stats.interval(value, terms)
    return replace(test, name=f"delta_{test.name}", value=value, low=low, high=high, paired=True)


def _shards(cell: Cell) -> int:
    return -(-cell.draw.images // cell.draw.batch)


@functools.cache
def _extractor(name: str) -> Any:
    return tables.lookup("extractors", name)()
