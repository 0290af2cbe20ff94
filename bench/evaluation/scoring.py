"""From images to numbers: their features, and what metrics make of them.

    image sets -> features -> measurements, each with the influence of every image

No network that made the images is needed: they may come from `generation`, from folders, from
another engine. Features are cached under the key of their image set.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import estimates, extensions
from bench.core.errors import InputError, NotMeasured
from bench.core.images import ImageSet, RealSplit, require_pairs
from bench.core.progress import Progress, Steps, finished
from bench.core.protocols import Evidence, Features, Statistics
from bench.core.record import Host, Measurement
from bench.core.shards import Shards, pieces
from bench.evaluation import extraction, keys, prompted, taken
from bench.measurement import real
from bench.measurement.features import moments, reference
from bench.system import artifacts
from bench.system.timing import Stopwatch

# Measurements by name, each with the influence of every image, (N,).
Measured = dict[str, tuple[Measurement, np.ndarray]]
Real = RealSplit | ImageSet | Statistics | None


@dataclass(frozen=True)
class ScoredImages:
    """The images of one scoring.

    Attributes:
        test: what is measured.
        twins: what each test image is held against, paired with it; None where the test images
            are themselves the reference: nothing is paired then, and there are no changes.
        real: what distances are taken to: a split of a data set, whose features are kept files,
            real images, or their statistics alone; None where no metric needs any.
        simulated: of the same scheme in simulation, where a metric compares with them.
        prompts: the text that each image and its twin were made from, where that is known.
    """

    test: ImageSet
    twins: ImageSet | None = None
    real: Real = None
    simulated: ImageSet | None = None
    prompts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for partner in (self.twins, self.simulated):
            if partner is not None:
                require_pairs(self.test, partner)
        if self.prompts is not None and len(self.prompts) != len(self.test):
            raise ValueError(f"{len(self.prompts)} prompts for {len(self.test)} images")


class Scoring:
    """Measures images.

    Args:
        host: this machine; its versions are part of the keys of features.
        cache: the cache folder.
        watch: counts the time of the stages features and metrics.
    """

    def __init__(self, host: Host, cache: Path, watch: Stopwatch | None = None) -> None:
        self.host, self.cache, self.watch = host, cache, watch or Stopwatch()
        # What was measured of the images that cells are held against, those of the last cell.
        self._against: tuple[Any, ...] = ()
        self._kept: dict[tuple[Any, ...], tuple[Measurement, np.ndarray]] = {}

    def measure(
        self, scored: ScoredImages, extractors: Sequence[str], metrics: Sequence[str]
    ) -> Steps[tuple[Measured, str]]:
        """Measure images by all metrics.

        A metric that is not paired is also measured of the twins; the change against them, with
        its interval, stands beside it under "delta_NAME".

        Returns:
            The measurements; and which metrics are not defined for these images and why, in one
            line, "" where all are.

        Raises:
            InputError: a metric needs images, or real images, that are not there.
        """
        _require(scored, metrics)
        measured: Measured = {}
        reasons = []
        for extractor_name in extractors:
            names = taken.beside(extractor_name, extractors, metrics, scored.twins is not None)
            chosen = {name: extensions.lookup("metrics", name)() for name in names}
            evidence = yield from self._evidence(scored, extractor_name, chosen)
            for name, metric in chosen.items():
                yield Progress(scored.test.source, name)
                try:
                    measured |= self._measured(scored, (extractor_name, name), metric, evidence)
                except NotMeasured as reason:
                    reasons.append(f"not measured: {reason}")
        return measured, "; ".join(reasons)

    def _measured(
        self, scored: ScoredImages, name: tuple[str, str], metric: Any, evidence: Evidence
    ) -> Measured:
        """The measurement of a metric, and where images are compared its change; `name` is the
        extractor's and the metric's."""
        value, terms = self._of(scored.test, scored, name, metric, evidence)
        measured = {value.name: (value, terms)}
        if scored.twins is not None and not metric.paired:
            twin_evidence = _of_twins(evidence)
            before, twin_terms = self._of(scored.twins, scored, name, metric, twin_evidence)
            delta = change(value, before, terms - twin_terms)
            if ends := getattr(metric, "change_ends", None):
                low, high = ends(delta.value, terms - twin_terms)
                delta = replace(delta, low=low, high=high)
            measured[delta.name] = delta, terms - twin_terms
        return measured

    def _of(
        self,
        images: ImageSet,
        scored: ScoredImages,
        name: tuple[str, str],
        metric: Any,
        evidence: Evidence,
    ) -> tuple[Measurement, np.ndarray]:
        """What a metric makes of some of the images that are scored. That of the images which
        cells are held against is kept: the twins of one cell are mostly those of the next one."""
        measure = functools.partial(self.watch.timed, "metrics", metric.measure, evidence)
        last = scored.test if scored.twins is None else scored.twins
        is_told = scored.prompts is None and isinstance(scored.real, RealSplit)
        if images is not last or metric.paired or not is_told:
            made: tuple[Measurement, np.ndarray] = measure()
            return made
        against = images.key, images.digests, len(images)
        if against != self._against:
            self._against, self._kept = against, {}
        key = *name, scored.real
        if key not in self._kept:
            self._kept[key] = measure()
        return self._kept[key]

    def _evidence(
        self, scored: ScoredImages, extractor_name: str, metrics: Mapping[str, Any]
    ) -> Steps[Evidence]:
        """All that some metrics may look at, through one extractor.

        Features are extracted where a metric takes them, and the images of pairs are read once
        for all metrics that go through them pair by pair.
        """
        twins = scored.twins or scored.test
        known = yield from self._real(scored.real, extractor_name, [*metrics])
        features: Features = _Unasked(self, scored.test, extractor_name)
        twin_features: Features = _Unasked(self, twins, extractor_name)
        if any(metric.kinds for metric in metrics.values()):
            features = yield from self.features(scored.test, extractor_name)
            twin_features = yield from self.features(twins, extractor_name)
        simulated = scored.simulated.images if scored.simulated else None
        seen = *known, simulated, scored.prompts
        evidence = Evidence(scored.test.images, twins.images, features, twin_features, *seen)
        sharing = {n: metric for n, metric in metrics.items() if hasattr(metric, "together")}
        for together in dict.fromkeys(metric.together for metric in sharing.values()):
            yield Progress(scored.test.source, ", ".join(sharing))
            known_of = self.watch.timed("metrics", together, metrics.values(), evidence)
            evidence = replace(evidence, pairwise={**evidence.pairwise, **known_of})
        return evidence

    def _real(
        self, wanted: Real, extractor_name: str, metrics: Sequence[str]
    ) -> Steps[tuple[Features | None, Statistics | None]]:
        """Features and statistics of the real images, None where no metric asks for them."""
        if wanted is None or not reference.needs(metrics, extractor_name):
            return None, None
        if isinstance(wanted, Statistics):
            return None, wanted
        if isinstance(wanted, RealSplit):
            return real.of(wanted, metrics, extractor_name)
        features = yield from self.features(wanted, extractor_name)
        statistics = moments.statistics(features.values)
        return features, Statistics(*statistics, len(features.values))

    def features(self, scored: ImageSet, extractor_name: str) -> Steps[Features]:
        """The features of images: kept ones, else extracted batch by batch."""
        key = keys.of_features(scored.key, extractor_name, self.host)
        place = extraction.Place.of(self.cache, key, extractor_name)
        batches = {}
        for k, start in enumerate(range(0, len(scored), scored.batch)):
            stop = min(start + scored.batch, len(scored))
            digest = scored.digests[k] if scored.digests else ""
            read = functools.partial(pieces, scored.images, start, stop)
            batches[place.path(k, stop - start, digest)] = read
        yield from extraction.make(place, batches, scored.source, self.watch)
        version = extensions.lookup("extractors", extractor_name).version
        values = Shards([*batches], len(scored), artifacts.loader(key))
        return Features(extractor_name, version, values, np.arange(len(values)))


class _Unasked(Features):
    """Features that none of the metrics says to take, extracted where one looks all the same."""

    def __init__(self, scoring: Scoring, images: ImageSet, extractor_name: str) -> None:
        version = extensions.lookup("extractors", extractor_name).version
        self.__dict__.update(extractor=extractor_name, version=version)
        self.__dict__["_extract"] = lambda: finished(scoring.features(images, extractor_name))

    def __getattr__(self, name: str) -> Any:
        """The values, and the indices, once they are asked for."""
        if name not in ("values", "seeds"):
            raise AttributeError(name)
        extracted = self._extract()
        self.__dict__.update(values=extracted.values, seeds=extracted.seeds)
        return self.__dict__[name]


def _require(scored: ScoredImages, metrics: Sequence[str]) -> None:
    """Make sure that there are the images and prompts that metrics take."""
    if scored.prompts is None:
        prompted.refuse(metrics)
    for name in metrics:
        metric = extensions.lookup("metrics", name)
        if metric.needs and scored.real is None:
            raise InputError(
                f"metric {name} compares with real images, and none are named: name some, or "
                f"leave it out"
            )
        simulated = getattr(metric, "simulated", False)
        if simulated and scored.twins is not None and scored.simulated is None:
            raise InputError(
                f"metric {name} compares with images of a simulation, and there are none: leave "
                f"it out"
            )


def _of_twins(evidence: Evidence) -> Evidence:
    """The same evidence of the twins, as if they were measured themselves."""
    return replace(
        evidence,
        images=evidence.twin_images,
        features=evidence.twin_features,
        simulated_images=None,
        pairwise={},
    )


def change(test: Measurement, reference: Measurement, terms: np.ndarray) -> Measurement:
    """Quantized minus full precision on the same noise, `terms` being what each pair adds."""
    value, low, high = test.value - reference.value, None, None
    if estimate := estimates.estimate(value, terms):
        estimate = estimate.without_rounding(max(abs(test.value), abs(reference.value)))
        value = estimate.value
        # Where no pair changed, nothing is known of how many others would.
        if estimate.error > 0:
            low, high = estimate.interval()
    return replace(test, name=f"delta_{test.name}", value=value, low=low, high=high, paired=True)
