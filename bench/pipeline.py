"""The order of the stages for one cell; the only module that knows it.

    checkpoint -> denoiser -> (calibrate, quantize) -> images -> features -> measurements -> record

Images, features and records are cached under content keys, shard by shard (one batch each), so a
killed run goes on where it stopped and a repeated one computes nothing. Torch is imported only
when something must be computed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import influences, names, real, stats, store, tables
from bench.errors import InputError
from bench.features import pretrained, reference
from bench.host import code_hash
from bench.protocols import Evidence
from bench.record import Host, Measurement, Record, record_from_json, to_json
from bench.shards import Shards
from bench.spec import Cell
from bench.stages import FEATURE_CODE, Progress, Stages, extractor

RECORD_CODE = (
    *FEATURE_CODE,
    *("metrics", "stats.py", "shards.py", "names.py", "real.py", "data", "pipeline.py"),
    *("stages.py", "record.py", "spec.py"),
)
Measured = dict[str, tuple[Measurement, np.ndarray]]


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
        self.stages = Stages(host, cache, progress)
        self.record_versions = {**host.arithmetic, **host.versions, "code": code_hash(RECORD_CODE)}
        # Of a folder it hashes all images, and every look into the cache asks for it.
        self._digest = functools.cache(reference.digest)
        self._count = functools.cache(real.count)

    def cached(self, cell: Cell) -> Record | None:
        """The finished record of a cell, or None."""
        try:
            record = record_from_json(self._record_path(cell).read_text(encoding="utf-8"))
            # Written first, so that it is missing only where it was deleted.
            if not self._record_path(cell).with_suffix(".npz").is_file():
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        # The name of a checkpoint is not part of its content: the caller's stands.
        return replace(record, cell=cell)

    def missing_batches(self, cell: Cell) -> int:
        """Batches that must still be sampled for a cell."""
        return 0 if self.cached(cell) or self.refusal(cell) else self.stages.missing(cell)

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
            full = self.stages.denoiser(cell)
            if cell.draw.steps > len(full.alpha_bar):
                raise InputError(
                    f"card {cell.checkpoint.name!r} has {len(full.alpha_bar)} timesteps: lower "
                    f"--steps {cell.draw.steps}"
                )
            for name in cell.extractors:
                extractor(name)
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
        self.stages.seconds = {}
        try:
            found = self._measure(cell)
            coverage, calibration = self.stages.coverage(cell)
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return Record(
                cell, self.host, "failed", None, (), self.stages.seconds, error=reason[:500]
            )
        measurements = tuple(value for value, _ in found.values())
        taken = self._real(cell)
        record = Record(
            *(
                cell,
                self._host(cell),
                "ok",
                coverage,
                measurements,
                dict(self.stages.seconds),
                calibration,
            ),
            real=taken,
            real_images=real.counts(cell, self._count),
        )
        terms = {name: t for name, (_, t) in found.items() if np.isfinite(t).all()}
        influences.save(self._record_path(cell).with_suffix(".npz"), terms)
        store.save_text(self._record_path(cell), to_json(record))
        return record

    def influences(self, cell: Cell) -> dict[str, np.ndarray]:
        """The influences (N,) of a finished cell's images, named as in a run's file."""
        terms = influences.load(self._record_path(cell).with_suffix(".npz"))
        return {influences.key(cell, name): values for name, values in terms.items()}

    def _real(self, cell: Cell) -> dict[str, str]:
        """SHA-256 of the real images' features that the metrics need, by extractor."""
        return {
            name: self._digest(cell.checkpoint.dataset, name, cell.real)
            for name in cell.extractors
            if reference.needs(cell.metrics, name)
        }

    def _host(self, cell: Cell) -> Host:
        """This machine, with the networks that a user chose as extractors."""
        chosen = pretrained.recorded(cell.extractors)
        return replace(self.host, versions={**self.host.versions, **chosen})

    def _record_path(self, cell: Cell) -> Path:
        found = {f"real {name}": digest for name, digest in self._real(cell).items()}
        for name in cell.extractors:
            found |= pretrained.versions(name)
        return self.cache / "records" / f"{cell.key(self.record_versions | found)}.json"

    def _simulated(self, cell: Cell) -> Shards | None:
        """The images of the same scheme in simulation, where a metric of the cell needs them."""
        found = (tables.lookup("metrics", name) for name in cell.metrics)
        if not any(getattr(metric, "simulated", False) for metric in found):
            return None
        return self.stages.images(replace(cell, backend="simulated"))

    def _measure(self, cell: Cell) -> Measured:
        """Measurements by name, each with the influences of the images."""
        images, twins = self.stages.images(cell), self.stages.images(cell.reference)
        simulated = self._simulated(cell)
        found: Measured = {}
        for position, name in enumerate(cell.extractors):
            taken = real.of(cell, name)
            features = self.stages.features(cell, name)
            twin_features = self.stages.features(cell.reference, name)
            evidence = Evidence(images, twins, features, twin_features, *taken, simulated)
            twin = Evidence(twins, twins, twin_features, twin_features, *taken)
            for metric_name in cell.metrics:
                metric = tables.lookup("metrics", metric_name)()
                if metric.paired and cell.scheme.is_float:
                    continue
                # What looks at images alone is measured once, beside the first extractor.
                if names.kind(name) not in metric.kinds if metric.kinds else position:
                    continue
                self.progress(f"{cell}: {metric_name}", 0)
                value, terms = self.stages.timed("metrics", metric.measure, evidence)
                found[value.name] = value, terms
                if not metric.paired and not cell.scheme.is_float:
                    before, twin_terms = self.stages.timed("metrics", metric.measure, twin)
                    delta = _change(value, before, terms - twin_terms)
                    if ends := getattr(metric, "change_ends", None):
                        low, high = ends(delta.value, terms - twin_terms)
                        delta = replace(delta, low=low, high=high)
                    found[delta.name] = delta, terms - twin_terms
        return found


def _change(test: Measurement, reference: Measurement, terms: np.ndarray) -> Measurement:
    """Quantized minus full precision on the same noise, `terms` being what each pair adds."""
    value, ends = test.value - reference.value, (None, None)
    if found := stats.estimate(value, terms):
        found = found.without_rounding(max(abs(test.value), abs(reference.value)))
        # Where no pair changed, nothing is known of how many others would.
        value, ends = found.value, found.interval() if found.error > 0 else (None, None)
    low, high = ends
    return replace(test, name=f"delta_{test.name}", value=value, low=low, high=high, paired=True)
