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

from collections.abc import Callable

import numpy as np
from scipy.ndimage import correlate1d

from bench.core.errors import InputError
from bench.core.estimates import interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement
from bench.core.shards import Shards

CAP = 100.0
WINDOW, SIGMA = 11, 1.5
C_1, C_2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
BATCH = 64


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


def _smooth(x: np.ndarray) -> np.ndarray:
    """Gaussian means (N, C, H - 10, W - 10) at the positions where the window fits."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    margin = slice(WINDOW // 2, -(WINDOW // 2))
    return correlate1d(correlate1d(x, weights, axis=2), weights, axis=3)[:, :, margin, margin]


def ssim(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """SSIM of each image to its twin, -1..1; shapes as for `psnr`.

    Raises:
        InputError: images smaller than the window.
    """
    if min(images.shape[2:]) < WINDOW:
        raise InputError(f"ssim needs images of at least {WINDOW} x {WINDOW} pixels: leave it out")
    a, b = images.astype(np.float64), twins.astype(np.float64)
    mean_a, mean_b = _smooth(a), _smooth(b)
    variance_a = _smooth(a * a) - mean_a**2
    variance_b = _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + C_1) * (2 * covariance + C_2)
    likeness /= (mean_a**2 + mean_b**2 + C_1) * (variance_a + variance_b + C_2)
    return likeness.mean((1, 2, 3))


def per_image(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    images: np.ndarray | Shards,
    twins: np.ndarray | Shards,
) -> np.ndarray:
    """`measure` of all images against their twins, (N,), in batches to bound the memory."""
    if images.shape != twins.shape:
        raise InputError(f"images {images.shape} and twins {twins.shape} do not pair up")
    starts = range(0, len(images), BATCH)
    return np.concatenate([measure(images[i : i + BATCH], twins[i : i + BATCH]) for i in starts])


class Likeness:
    """Mean likeness of images to others of the same noise, `name@N`.

    Subclasses give the name, the unit and the function of (images, others).
    """

    name = unit = ""
    better = "higher"
    version = 1
    least = 2
    paired = True
    kinds: tuple[str, ...] = ()
    needs = ""
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def others(self, evidence: Evidence) -> np.ndarray | Shards:
        """What the images are compared with: their full-precision twins."""
        return evidence.twin_images

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the interval of the mean over images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also how far each image is from the mean, (N,)."""
        return self.mean(per_image(self.function, evidence.images, self.others(evidence)))

    def mean(self, values: np.ndarray) -> tuple[Measurement, np.ndarray]:
        """The measurement from each image's likeness (N,); also how far each is off."""
        n, mean = len(values), float(values.mean())
        ends = interval(mean, values - mean)
        measurement = Measurement(
            f"{self.name}@{n}", mean, *ends, n, self.unit, self.better, self.version, self.paired
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
