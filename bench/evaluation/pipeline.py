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

from bench.core import extensions, printable
from bench.core.cell import Cell
from bench.core.errors import InputError
from bench.core.record import Host, Record, record_from_json, to_json
from bench.evaluation import keys
from bench.evaluation.generation import Progress, Stages
from bench.evaluation.scoring import Scoring, extractor
from bench.measurement import real
from bench.measurement.features import pretrained, reference
from bench.system import artifacts, disk, influences

# How often a cell is tried where files that it uses vanish from the cache meanwhile.
TRIES = 3


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
        self.scoring = Scoring(self.stages)
        # Of a folder it hashes all images, and every look into the cache asks for it.
        self._digest = functools.cache(reference.digest)
        self._count = functools.cache(real.count)

    def cached(self, cell: Cell) -> Record | None:
        """The finished record of a cell, or None."""
        path = self._record_path(cell)
        text = artifacts.load_text(path, path.name)
        # Written first, so that they are missing only where they were deleted or damaged.
        if text is None or self._terms(path) is None:
            return None
        record = record_from_json(text)
        # The name of a checkpoint is not part of its content: the caller's stands.
        return replace(record, cell=cell)

    def missing_batches(self, cell: Cell) -> int:
        """Batches that must still be sampled for a cell."""
        return 0 if self.cached(cell) or self.refusal(cell) else self.stages.missing(cell)

    def refusal(self, cell: Cell) -> str | None:
        """Why the backend cannot run this cell here, or None."""
        return extensions.lookup("backends", cell.backend)().refuses(cell.scheme, self.host)

    def check(self, cells: Sequence[Cell]) -> None:
        """Load what must be computed, so that bad input is found before hours of sampling.

        Raises:
            InputError: a checkpoint that cannot be loaded, more steps than timesteps, images of
                another size than the real ones, an extractor or metric without its weights, or a
                scheme that does not fit a network.
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
            for name in cell.metrics:
                extensions.lookup("metrics", name)()
            real.check_images(cell, full)
            if cell.scheme.skip:
                from bench.quant.layers import layers

                layers(full, cell.scheme)

    def run(self, cell: Cell) -> Record:
        """Compute a cell, or take it from the cache. Only InputError and interrupts escape."""
        if record := self.cached(cell):
            return record
        if reason := self.refusal(cell):
            return Record(cell, self.host, "refused", None, (), {}, error=reason)
        self.stages.seconds = {}
        for _ in range(TRIES):
            try:
                return self._compute(cell)
            except artifacts.Lost:
                # It was told, or somebody cleans the cache: what is missing is made again.
                continue
            except InputError:
                raise
            except Exception as error:
                if stop := disk.stops(error):
                    raise stop from error
                reason = printable.short(f"{type(error).__name__}: {error}", 500)
                return Record(
                    cell, self.host, "failed", None, (), self.stages.seconds, error=reason
                )
        raise disk.MachineError(
            f"files vanish from {self.cache} while they are used: name another folder by "
            f"BENCH_CACHE, and repeat the command"
        )

    def _compute(self, cell: Cell) -> Record:
        """Compute a cell and keep its record."""
        measured, unmeasured = self.scoring.measure(cell)
        coverage, calibration = self.stages.coverage(cell)
        record = Record(
            cell,
            self._host(cell),
            "ok",
            coverage,
            tuple(value for value, _ in measured.values()),
            dict(self.stages.seconds),
            calibration,
            unmeasured,
            real=self._real(cell),
            real_images=real.counts(cell, self._count),
        )
        terms = {name: t for name, (_, t) in measured.items() if np.isfinite(t).all()}
        path = self._record_path(cell)
        content, text = influences.pack(terms), to_json(record)
        # A metric of another package may give what no reader of the report takes.
        record_from_json(text)
        artifacts.write(path.with_suffix(".npz"), f"{path.stem}.npz", content)
        artifacts.save_text(path, path.name, text)
        return record

    def influences(self, cell: Cell) -> dict[str, np.ndarray]:
        """The influences (N,) of a finished cell's images, named as in a run's file.

        Raises:
            InputError: they were damaged since the cell was finished.
        """
        terms = self._terms(self._record_path(cell))
        if terms is None:
            raise InputError(f"the cache lost what {cell} was made of: repeat the command")
        return {influences.key(cell, name): values for name, values in terms.items()}

    @staticmethod
    def _terms(path: Path) -> dict[str, np.ndarray] | None:
        """The influences beside a record, None where they are missing."""
        content = artifacts.read(path.with_suffix(".npz"), f"{path.stem}.npz")
        return None if content is None else influences.unpack(content)

    def _real(self, cell: Cell) -> dict[str, str]:
        """SHA-256 of the real images' features that the metrics need, by extractor."""
        return {
            name: self._digest(cell.checkpoint.dataset, name, cell.real)
            for name in cell.extractors
            if reference.needs(cell.metrics, name)
        }

    def _host(self, cell: Cell) -> Host:
        """This machine, with what identifies the extensions that made the numbers."""
        said = keys.identities(keys.record_entries(cell))
        chosen = pretrained.recorded(cell.extractors)
        return replace(self.host, versions={**self.host.versions, **said, **chosen})

    def _record_path(self, cell: Cell) -> Path:
        key = keys.of_record(cell, self.host, self._real(cell))
        return self.cache / "records" / f"{key}.json"
