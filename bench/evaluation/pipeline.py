"""The order of the stages for one cell; the only module that knows it.

    resolved cell -> image sets (generation) -> measurements (scoring) -> record

Images, features and records are cached under content keys, shard by shard (one batch each), so a
killed run goes on where it stopped and a repeated one computes nothing. Torch is imported only
when something must be computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core import extensions, printable
from bench.core.errors import InputError, NotExecuted
from bench.core.images import RealSplit, equal_pairs
from bench.core.progress import Done, Steps
from bench.core.record import Host, Record
from bench.evaluation import extraction, keys, piped, records
from bench.evaluation.extraction import extractor
from bench.evaluation.generation import Generation
from bench.evaluation.scoring import ScoredImages, Scoring
from bench.measurement import real
from bench.quant.methods import applying
from bench.system import artifacts, disk
from bench.system.timing import Stopwatch

if TYPE_CHECKING:
    from bench.evaluation.parts import Part
    from bench.evaluation.resolved import ResolvedCell

# How often a cell is tried where files that it uses vanish from the cache meanwhile.
TRIES = 3


class Pipeline:
    """Runs resolved cells, and parts of them, on this machine.

    Args:
        host: fingerprint of this machine.
        cache: the cache folder.
    """

    def __init__(self, host: Host, cache: Path) -> None:
        self.cache, self.watch = cache, Stopwatch()
        self.generation = Generation(host.device, self.watch)
        self.scoring = Scoring(host, cache, self.watch)

    def check(self, cells: Iterable[ResolvedCell]) -> None:
        """Load what must be computed, so that bad input is found before hours of sampling.

        Raises:
            InputError: a checkpoint that cannot be loaded, more steps than timesteps, guidance
                without a null label, images of another size than the real ones, an extractor or
                metric without its weights, or a scheme or a method that does not fit a network.
        """
        for wanted in cells:
            if wanted.refusal is not None or records.cached(wanted):
                continue
            cell = wanted.cell
            full = self.generation.denoiser(cell.checkpoint)
            if cell.draw.steps > len(full.levels):
                raise InputError(
                    f"card {cell.checkpoint.name!r} has {len(full.levels)} timesteps: lower "
                    f"--steps {cell.draw.steps}"
                )
            # Torch is not imported where everything is in the cache.
            from bench.models.samplers.drawing import check_guidance

            if full.loop is None:
                check_guidance(full, cell.draw)
            elif applying.switches(cell.scheme):
                raise InputError(
                    f"card {cell.checkpoint.name!r} is a pipeline, whose ranges cannot switch "
                    f"with the timestep (tgroups): leave that method out"
                )
            for name in cell.extractors:
                extractor(name)
            for name in cell.metrics:
                extensions.lookup("metrics", name)()
            real.check_images(cell, full)
            applying.check(cell.scheme, full)
            if cell.scheme.skip or cell.scheme.budget:
                from bench.quant.layers import layers

                rows = full.loop.rows(cell.draw) if full.loop else cell.draw.evaluated
                layers(full, cell.scheme, rows)

    def part(self, wanted: Part) -> Steps[Done]:
        """Make a batch of the images of a cell, and its features; as for `run`.

        What another process is at, or somebody removes meanwhile, is left to the cell.
        """
        self.watch.reset()
        try:
            _check_files(wanted)
            yield from self.generation.make(wanted.images, [wanted.batch], waits=False)
            for place in wanted.places:
                batch = {wanted.features(place): wanted.read}
                yield from extraction.make(place, batch, str(wanted.cell), self.watch, waits=False)
        except artifacts.Lost:
            pass
        except NotExecuted as error:
            return Done(wanted, self.watch.seconds, str(error))
        except InputError:
            raise
        except Exception as error:
            return Done(wanted, self.watch.seconds, _reason(error))
        return Done(wanted, self.watch.seconds)

    def run(self, wanted: ResolvedCell) -> Steps[Record]:
        """Compute a cell, or take it from the cache. Only InputError and interrupts escape."""
        if record := records.cached(wanted):
            return record
        if wanted.refusal is not None:
            return _without_numbers(wanted, "refused", wanted.refusal)
        self.watch.reset()
        for _ in range(TRIES):
            try:
                return (yield from self._computed(wanted))
            except artifacts.Lost:
                # It was told, or somebody cleans the cache: what is missing is made again.
                continue
            except NotExecuted as error:
                return _without_numbers(wanted, "refused", str(error), self.watch.seconds)
            except InputError:
                raise
            except Exception as error:
                return _without_numbers(wanted, "failed", _reason(error), self.watch.seconds)
        raise disk.MachineError(
            f"files vanish from {self.cache} while they are used: name another folder by "
            f"BENCH_CACHE, and repeat the command"
        )

    def _computed(self, wanted: ResolvedCell) -> Steps[Record]:
        """Compute a cell and keep its record."""
        cell = wanted.cell
        _check_files(wanted)
        scored = yield from self._images(wanted)
        names = cell.extractors, cell.metrics
        measured, unmeasured = yield from self.scoring.measure(scored, *names)
        coverage, calibration = yield from self.generation.coverage(wanted.images)
        record = Record(
            cell,
            wanted.host,
            "ok",
            coverage,
            tuple(value for value, _ in measured.values()),
            _added(wanted.spent, self.watch.seconds),
            calibration,
            unmeasured,
            real=wanted.real,
            real_images=wanted.real_images,
            equal=equal_pairs(scored.test, scored.twins) if scored.twins else None,
        )
        terms = {name: t for name, (_, t) in measured.items() if np.isfinite(t).all()}
        records.keep(wanted, record, terms)
        return record

    def _images(self, wanted: ResolvedCell) -> Steps[ScoredImages]:
        """Make or find the images of a cell and those it is held against."""
        cell, twins, simulated = wanted.cell, None, None
        test = yield from self.generation.images(wanted.images)
        if not cell.is_reference:
            twins = yield from self.generation.images(wanted.reference)
        if wanted.simulation is not None:
            simulated = yield from self.generation.images(wanted.simulation)
        split = RealSplit(cell.checkpoint.dataset, cell.real)
        return ScoredImages(test, twins, split, simulated, piped.texts(cell))


def _reason(error: Exception) -> str:
    """The line of an error that is the outcome of a cell.

    Raises:
        MachineError: the machine is its cause, and no cell.
    """
    if stop := disk.stops(error):
        raise stop from error
    return printable.short(f"{type(error).__name__}: {error}", 500)


def _check_files(wanted: ResolvedCell | Part) -> None:
    """Make sure that the files of methods hold what they did when the keys were made, which may
    have been hours ago and in another process.

    Raises:
        RuntimeError: one was changed.
    """
    for name, text in keys.identities(keys.methods(wanted.cell)).items():
        if wanted.host.versions.get(name) != text:
            raise RuntimeError(
                f"{name} is {text[:12]}, and was {wanted.host.versions.get(name, 'none')[:12]} "
                f"when the command began: repeat it"
            )


def _added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Wall times by stage together."""
    return {stage: first.get(stage, 0) + second.get(stage, 0) for stage in {**first, **second}}


def _without_numbers(
    wanted: ResolvedCell, status: str, reason: str, seconds: dict[str, float] | None = None
) -> Record:
    """The record of a cell that was refused or failed."""
    return Record(wanted.cell, wanted.host, status, None, (), seconds or {}, error=reason)
