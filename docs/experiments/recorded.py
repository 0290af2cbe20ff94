"""Images of one shipped checkpoint, recorded once, and what a run of some of them would measure.

The checkpoint is sampled in full precision, at W8A8 and at W6A8 (taken from the cache where they
are there). `Measure` then gives every number that has a shipped threshold for any choice of them,
by the code of the metrics; what needs all real images (sums of the kernel, distances of
neighbours) is taken once for each recorded image and looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.core import estimates, extensions
from bench.core.cell import Cell, Draw, expand
from bench.core.progress import finished
from bench.core.protocols import Evidence, Features, Statistics
from bench.core.record import Measurement
from bench.core.scheme import Scheme
from bench.evaluation.generation import Generation
from bench.evaluation.resolved import images_of
from bench.evaluation.scoring import Scoring
from bench.measurement.features import moments, reference
from bench.measurement.metrics import frechet, kernel, paired, precision_recall
from bench.models.cards import card_file, load_cards, select, verify
from bench.system.host import fingerprint

NO_IMAGES = np.zeros((0, 1, 1, 1), np.uint8)
SHARES = ("precision", "recall", "density", "coverage")
DISTANCES = ("frechet", "frechet_infinity", "frechet_twin")
Terms = dict[str, tuple[Measurement, np.ndarray]]


@dataclass(frozen=True)
class Recorded:
    """All images of a scheme: features (M, D), and likeness of each to its twin, (M,)."""

    cell: Cell
    features: np.ndarray
    psnr: np.ndarray
    ssim: np.ndarray


def record(name: str, images: int, cache: Path) -> tuple[list[Recorded], Features]:
    """Sample, or take from the cache: full precision, W8A8, W6A8; and the real features."""
    cards = select(load_cards(card_file(None)), [name])
    schemes = [Scheme.parse("w8a8"), Scheme.parse("w6a8")]
    cells = expand([verify(cards[0])], schemes, ["simulated"], Draw(images=images))
    host = fingerprint()
    generation, scoring = Generation(host.device), Scoring(host, cache)
    real = reference.load(cards[0].dataset, "efficientnet")
    twins, found = finished(generation.images(images_of(cells[0], host, cache))).images, []
    for cell in cells:
        made = finished(generation.images(images_of(cell, host, cache)))
        pixels = made.images
        values = finished(scoring.features(made, "efficientnet")).values
        features = np.asarray(values, np.float64)
        likeness = (paired.per_image(f, pixels, twins) for f in (paired.psnr, paired.ssim))
        found.append(Recorded(cell, features, *likeness))
    return found, replace(real, values=np.asarray(real.values, np.float64))


class Neighbourhoods:
    """The neighbours of all recorded images of a scheme, for any choice of them."""

    def __init__(self, features: np.ndarray, real: np.ndarray) -> None:
        self.among, self.to_real = (
            precision_recall.squares(features, y) for y in (features, real)
        )
        self.reach = {k: precision_recall.radii(real, k) for k in (3, 5)}

    def metric(self, name: str, chosen: np.ndarray) -> precision_recall._Neighbours:
        """A metric that looks its neighbours up."""
        metric, rows = extensions.lookup("metrics", name)(), self.to_real[chosen]
        if name == "recall":
            own = np.partition(self.among[np.ix_(chosen, chosen)], metric.k, axis=1)
            within = rows <= own[:, metric.k, None]
            metric.share = lambda x, y: precision_recall.accounted(within)
        else:
            near = rows <= self.reach[metric.k]
            metric.near_real = lambda x, y: iter([near])
        return metric


class Measure:
    """What a run of some of the images would measure, with the influences: the kernel distance,
    the likeness to the twins, and the metrics that are named."""

    def __init__(
        self, full: Recorded, real: Features, names: Sequence[str] = (*DISTANCES, *SHARES)
    ) -> None:
        self.full, self.real, self.names = full, real, names
        y, m = real.values, len(real.values)
        self.statistics = Statistics(*moments.statistics(y), m)
        self.term = float(kernel.others(y).sum() / (m * (m - 1)))
        self.across: dict[int, np.ndarray] = {}
        self.around: dict[int, Neighbourhoods] = {}

    def alone(self, of: Recorded, chosen: np.ndarray) -> Terms:
        """The distances and shares of the chosen images against the real ones."""
        evidence, metrics = self._evidence(of, chosen), []
        for name in self.names:
            if name in SHARES:
                if id(of) not in self.around:
                    self.around[id(of)] = Neighbourhoods(of.features, self.real.values)
                metrics.append(self.around[id(of)].metric(name, chosen))
            elif name != "frechet_twin":
                metrics.append(extensions.lookup("metrics", name)())
        found = self.kernel(of, chosen)
        return found | {m.name: (m, terms) for m, terms in (x.measure(evidence) for x in metrics)}

    def kernel(self, of: Recorded, chosen: np.ndarray) -> Terms:
        """The kernel distance alone."""
        if id(of) not in self.across:
            sums = kernel.kernel_sums(of.features, self.real.values)
            self.across[id(of)] = sums / len(self.real.values)
        within, across = kernel.others(of.features[chosen]), self.across[id(of)][chosen]
        value, terms = kernel.combined(within, across, self.term)
        value, terms, n = 1e3 * value, 1e3 * terms, len(chosen)
        name = f"kd_{self.real.extractor}@{n}"
        ends = estimates.interval(value, terms)
        return {name: (Measurement(name, value, *ends, n, "1e-3", "lower", 1), terms)}

    def beside(self, of: Recorded, chosen: np.ndarray, found: Terms, full: Terms) -> Terms:
        """The numbers of the quantized images, their changes, and their likeness to the twins."""
        changes: Terms = {}
        for name, (value, terms) in found.items():
            twin, twin_terms = full[name]
            change = value.value - twin.value
            low, high = estimates.interval(change, terms - twin_terms)
            delta = replace(value, name=f"delta_{name}", value=change, low=low, high=high)
            changes[delta.name] = delta, terms - twin_terms
        for metric, values in ((paired.Psnr(), of.psnr), (paired.Ssim(), of.ssim)):
            value, terms = metric.mean(values[chosen])
            changes[value.name] = value, terms
        return found | changes

    def twin(self, of: Recorded, chosen: np.ndarray) -> Terms:
        """The distance to the twins, where it is named."""
        if "frechet_twin" not in self.names:
            return {}
        value, terms = frechet.FrechetTwin().measure(self._evidence(of, chosen))
        return {value.name: (value, terms)}

    def _evidence(self, of: Recorded, chosen: np.ndarray) -> Evidence:
        name, version = self.real.extractor, self.real.version
        features, twins = (
            Features(name, version, recorded.features[chosen], chosen)
            for recorded in (of, self.full)
        )
        return Evidence(NO_IMAGES, NO_IMAGES, features, twins, self.real, self.statistics)
