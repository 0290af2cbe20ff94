"""Likeness of an image to its full-precision twin: PSNR and SSIM of uint8 images.

PSNR = 10 log10(255^2 / mean squared difference), in dB, limited to CAP where the images are equal
or nearly so (a single pixel off by one in a 256 x 256 image gives 96 dB).

SSIM (Wang et al. 2004), with means mu, variances sigma^2 and covariance sigma_ab under a Gaussian
window of 11 x 11 pixels and standard deviation 1.5 that lies wholly inside the image:

    (2 mu_a mu_b + C_1)(2 sigma_ab + C_2) / ((mu_a^2 + mu_b^2 + C_1)(sigma_a^2 + sigma_b^2 + C_2))

is averaged over positions and channels at full resolution; C_1 = (0.01 * 255)^2,
C_2 = (0.03 * 255)^2.

Both are means over the images with the 95% Student interval of a mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench.core.errors import InputError, NotMeasured
from bench.core.estimates import interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement
from bench.core.shards import Shards, same_sizes
from bench.measurement.metrics.filters import filtered, strips
from bench.measurement.metrics.pair_blocks import Outcome, PairFunction, per_image, together

CAP = 100.0
WINDOW, SIGMA = 11, 1.5
_WEIGHTS = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
# By the distance from the middle pixel.
GAUSSIAN = (_WEIGHTS / _WEIGHTS.sum())[WINDOW // 2 :]
C_1, C_2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """PSNR of each image to its twin in dB, at most CAP.

    Args:
        images, twins: uint8 (N, C, H, W).

    Returns:
        float64 (N,).
    """
    difference = images.astype(np.float64) - twins
    error = np.square(difference).mean((1, 2, 3))
    floor = 255.0**2 / 10 ** (CAP / 10)
    return 10 * np.log10(255.0**2 / np.maximum(error, floor))


def ssim(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """SSIM of each image to its twin, -1..1; shapes as for `psnr`.

    Raises:
        NotMeasured: images smaller than the window.
    """
    require_size("ssim", images, WINDOW)
    n, channels, height, width = images.shape
    likeness = np.empty((n * channels, height - WINDOW + 1, width - WINDOW + 1))
    a, b = (x.reshape(-1, height, width) for x in (images, twins))
    for planes, rows in strips(*likeness.shape):
        around = planes, slice(rows.start, rows.stop + WINDOW - 1)
        likeness[planes, rows] = _likeness(a[around], b[around])
    return likeness.reshape(n, channels, *likeness.shape[1:]).mean((1, 2, 3))


def _likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM at the positions of a strip (P, H, W) where the window fits."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = _smooth(a), _smooth(b)
    variance_a = _smooth(a * a) - mean_a**2
    variance_b = _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + C_1) * (2 * covariance + C_2)
    likeness /= (mean_a**2 + mean_b**2 + C_1) * (variance_a + variance_b + C_2)
    return likeness


def _smooth(x: np.ndarray) -> np.ndarray:
    """Gaussian means, to the bit those of scipy's correlate1d, on which committed runs rest."""
    return filtered(x, GAUSSIAN, inwards=True)


def require_size(metric: str, images: np.ndarray, least: int) -> None:
    """Make sure that images (N, C, H, W) have at least `least` pixels along each edge.

    Raises:
        NotMeasured: they have fewer.
    """
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise NotMeasured(
            f"{metric} needs images of at least {least} x {least} pixels, these have "
            f"{width} x {height}: leave it out"
        )


def pairwise(metrics: Iterable[Any], evidence: Evidence) -> dict[int, Outcome]:
    """What those of some metrics that take pair by pair say of each pair, by their `id`, all
    images being read once: for `Evidence.pairwise`.

    Left out are metrics that measure in a way of their own, whose names differ by size, and those
    that compare with other images than the twins.
    """
    functions = {}
    for metric in metrics:
        if getattr(type(metric), "measure", None) is not Likeness.measure:
            continue
        if metric.others(evidence) is not evidence.twin_images:
            continue
        try:
            metric.common_title(evidence.images)
        except NotMeasured:
            continue
        functions[id(metric)] = PairFunction(metric.function, metric.parallel)
    return together(functions, evidence.images, evidence.twin_images) if functions else {}


class Likeness:
    """Mean likeness of images to others of the same noise, `name@N`.

    Subclasses give the name, the unit and the function of (images, others), and say where that
    must not run in several threads.
    """

    name = unit = ""
    better = "higher"
    version = 1
    least = 2
    paired = True
    kinds: tuple[str, ...] = ()
    needs = ""
    parallel = True
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    together = staticmethod(pairwise)

    def others(self, evidence: Evidence) -> np.ndarray | Shards:
        """What the images are compared with: their full-precision twins."""
        return evidence.twin_images

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the interval of the mean over images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also how far each image is from the mean, (N,)."""
        title = self.common_title(evidence.images)
        values = evidence.pairwise.get(id(self))
        if isinstance(values, NotMeasured):
            raise values
        if values is None:
            others = self.others(evidence)
            values = per_image(self.function, evidence.images, others, self.parallel)
        return self.mean(values, title)

    def common_title(self, images: np.ndarray | Shards) -> str:
        """What the number of these images is called, without its N.

        Raises:
            NotMeasured: it is called differently for their sizes, or is defined for none.
        """
        titles = sorted({self.title(group.shape) for group in same_sizes(images)})
        if len(titles) > 1:
            raise NotMeasured(
                f"{self.name} is {' and '.join(titles)} for the sizes of these images, which have "
                f"no mean: score each size by itself"
            )
        return titles[0]

    def title(self, shape: tuple[int, ...]) -> str:
        """What the number of images of a shape (C, H, W) is called, without its N."""
        return self.name

    def mean(self, values: np.ndarray, title: str = "") -> tuple[Measurement, np.ndarray]:
        """The measurement from each image's likeness (N,); also how far each is off."""
        n, mean = len(values), float(values.mean())
        ends = interval(mean, values - mean)
        name = f"{title or self.name}@{n}"
        measurement = Measurement(
            name, mean, *ends, n, self.unit, self.better, self.version, self.paired
        )
        return measurement, values - mean


class Psnr(Likeness):
    """Mean PSNR to the twins in dB: `psnr@N`."""

    name, unit = "psnr", "dB"
    function = staticmethod(psnr)


class Ssim(Likeness):
    """Mean SSIM to the twins: `ssim@N`."""

    name = "ssim"
    function = staticmethod(ssim)


class SimulatedPsnr(Psnr):
    """Mean PSNR in dB of kernels' images to those of the simulation: `psnr_simulated@N`."""

    name = "psnr_simulated"
    simulated = True

    def others(self, evidence: Evidence) -> np.ndarray | Shards:
        """The images of the simulation."""
        if evidence.simulated_images is None:
            raise InputError("psnr_simulated needs the images of the simulation")
        return evidence.simulated_images
