"""From images to numbers: the features of a cell's images, and what its metrics make of them.

images -> features -> measurements, each with the influence of every image
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import distances, estimates, extensions
from bench.core.cell import Cell
from bench.core.errors import NotMeasured
from bench.core.protocols import Evidence, Features
from bench.core.record import Measurement
from bench.core.shards import Shards
from bench.evaluation import keys
from bench.evaluation.generation import Stages, loader, shards
from bench.measurement import real
from bench.system import artifacts

Measured = dict[str, tuple[Measurement, np.ndarray]]


class Scoring:
    """Measures cells of which `stages` makes or finds the images."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages

    def features(self, cell: Cell, extractor_name: str) -> Features:
        """The features of a cell's images."""
        key = keys.of_features(cell, extractor_name, self.stages.host)
        folder = self.stages.cache / "features" / key / extractor_name
        images, paths = self.stages.images(cell), []
        load = loader(key)
        for k in range(shards(cell)):
            start = k * cell.draw.batch
            count = min(cell.draw.batch, len(images) - start)
            path = folder / f"{k:05d}-{count}.npy"
            if not self._is_kept(path, key, (count, None)):
                self.stages.progress(f"{cell}: features", 0)
                batch = images[start : start + count]
                shard = self.stages.timed("features", self._extract, extractor_name, batch)
                artifacts.save_array(path, f"{key} {path.name}", shard)
            paths.append(path)
        version = extensions.lookup("extractors", extractor_name).version
        values = Shards(paths, len(images), load)
        return Features(extractor_name, version, values, np.arange(len(values)))

    def _is_kept(self, path: Path, key: str, shape: tuple[int | None, ...]) -> bool:
        return artifacts.load_array(path, f"{key} {path.name}", shape, np.float32) is not None

    def _extract(self, extractor_name: str, images: np.ndarray) -> np.ndarray:
        import torch

        found = extractor(extractor_name)(torch.from_numpy(images)).numpy()
        if found.ndim != 2 or len(found) != len(images):
            raise RuntimeError(
                f"extractor {extractor_name} gave {list(found.shape)} for {len(images)} images"
            )
        return found.astype(np.float32, copy=False)

    def _simulated(self, cell: Cell) -> Shards | None:
        """The images of the same scheme in simulation, where a metric of the cell needs them."""
        found = (extensions.lookup("metrics", name) for name in cell.metrics)
        if not any(getattr(metric, "simulated", False) for metric in found):
            return None
        return self.stages.images(replace(cell, backend="simulated"))

    def measure(self, cell: Cell) -> tuple[Measured, str]:
        """Measurements by name, each with the influences of the images; and which metrics are not
        defined for these images and why, in one line, "" where all are."""
        images, twins = self.stages.images(cell), self.stages.images(cell.reference)
        simulated = self._simulated(cell)
        found: Measured = {}
        reasons = []
        for position, name in enumerate(cell.extractors):
            taken = real.of(cell, name)
            features = self.features(cell, name)
            twin_features = self.features(cell.reference, name)
            evidence = Evidence(images, twins, features, twin_features, *taken, simulated)
            twin = Evidence(twins, twins, twin_features, twin_features, *taken)
            for metric_name in cell.metrics:
                metric = extensions.lookup("metrics", metric_name)()
                if metric.paired and cell.scheme.is_float:
                    continue
                # What looks at images alone is measured once, beside the first extractor.
                if distances.kind(name) not in metric.kinds if metric.kinds else position:
                    continue
                self.stages.progress(f"{cell}: {metric_name}", 0)
                try:
                    value, terms = self.stages.timed("metrics", metric.measure, evidence)
                except NotMeasured as reason:
                    reasons.append(f"not measured: {reason}")
                    continue
                found[value.name] = value, terms
                if not metric.paired and not cell.scheme.is_float:
                    before, twin_terms = self.stages.timed("metrics", metric.measure, twin)
                    delta = change(value, before, terms - twin_terms)
                    if ends := getattr(metric, "change_ends", None):
                        low, high = ends(delta.value, terms - twin_terms)
                        delta = replace(delta, low=low, high=high)
                    found[delta.name] = delta, terms - twin_terms
        return found, "; ".join(reasons)


def change(test: Measurement, reference: Measurement, terms: np.ndarray) -> Measurement:
    """Quantized minus full precision on the same noise, `terms` being what each pair adds."""
    value, low, high = test.value - reference.value, None, None
    if found := estimates.estimate(value, terms):
        found = found.without_rounding(max(abs(test.value), abs(reference.value)))
        value = found.value
        # Where no pair changed, nothing is known of how many others would.
        if found.error > 0:
            low, high = found.interval()
    return replace(test, name=f"delta_{test.name}", value=value, low=low, high=high, paired=True)


@functools.cache
def extractor(name: str) -> Any:
    """The extractor of a name, with its weights."""
    return extensions.lookup("extractors", name)()
