"""The Fréchet distance extrapolated to infinitely many images (after Chong and Forsyth 2020).

The bias of the distance falls about as 1/N, d_N = d_inf + b / N. From all N images and the two
halves of even and of odd index

    d_inf = 2 d_N - (d_even + d_odd) / 2

removes it to first order. The distances are sums over images to first order, and so is this
combination: the influence of image i on it is twice that on d_N less that on the distance of its
half. Below several times the dimension the bias does not yet fall as 1/N, so what is left of it is
smaller but not 0.
"""

from __future__ import annotations

import numpy as np

from bench.core.estimates import interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement
from bench.measurement.features.moments import statistics
from bench.measurement.metrics.frechet import frechet_distance, influence, real_gaussian


class FrechetInfinity:
    """Extrapolated distance to real images: `fd_inf_<extractor>@N`; from an even number of them,
    so of an odd N the last image is left out."""

    better = "lower"
    version = 1
    least = 8
    paired = False
    kinds = ("features",)
    needs = "statistics"

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the 95% interval over the draw of the images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each image, (N,)."""
        test, real = evidence.features, real_gaussian(evidence)
        n = len(test.values) // 2 * 2
        values = np.asarray(test.values[:n], np.float64)
        value = 2 * frechet_distance(*statistics(values), *real)
        terms = 2 * influence(values, *real)
        for first in (0, 1):
            half = values[first::2]
            value -= frechet_distance(*statistics(half), *real) / 2
            terms[first::2] -= influence(half, *real)
        name, ends = f"fd_inf_{test.extractor}@{n}", interval(value, terms)
        return Measurement(name, value, *ends, n, "", self.better, self.version), terms
