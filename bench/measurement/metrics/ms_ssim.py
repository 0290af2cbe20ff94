"""Multi-scale structural similarity of an image to its full-precision twin (Wang et al. 2003).

With the maps of SSIM (`bench.measurement.metrics.paired`: window of 11 pixels, same constants)

    contrast and structure   c = (2 sigma_ab + C_2) / (sigma_a^2 + sigma_b^2 + C_2)
    SSIM                     s = c (2 mu_a mu_b + C_1) / (mu_a^2 + mu_b^2 + C_1)

averaged over positions, and images halved by means of 2 x 2 pixels from scale to scale,

    MS-SSIM = c_1^w_1 c_2^w_2 c_3^w_3 c_4^w_4 s_5^w_5

for each channel, negative means being taken as 0, then the mean over channels. The window must fit
into the coarsest scale, so five scales take images of 161 pixels. Smaller ones are measured at as
many scales as fit, at least two, with the first weights divided by their sum. That is another
number than the published one and has another name: `ms_ssim_2scales` of 28 x 28 pixels.

Computed in float64: near 1, where quantized images are, variances in float32 lose the difference.
"""

from __future__ import annotations

import numpy as np

from bench.core.errors import NotMeasured
from bench.measurement.metrics.filters import filtered, halved, strips
from bench.measurement.metrics.paired import C_1, C_2, SIGMA, WINDOW, Likeness

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_HALF = np.exp(-(np.arange(WINDOW // 2 + 1) ** 2) / (2 * SIGMA**2))
# By the distance from the middle pixel.
GAUSSIAN = _HALF / (2 * _HALF.sum() - _HALF[0])


def scales(height: int, width: int) -> int:
    """At how many scales images of a size are measured, 2 to 5.

    Raises:
        NotMeasured: the window does not fit into the second scale.
    """
    side, count = min(height, width), 0
    while side >= WINDOW and count < len(WEIGHTS):
        side, count = (side + 1) // 2, count + 1
    if count < 2:
        raise NotMeasured(
            f"ms_ssim needs images of at least {2 * WINDOW - 1} x {2 * WINDOW - 1} pixels for two "
            f"scales, these have {width} x {height}: leave it out"
        )
    return count


def ms_ssim(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """MS-SSIM of each image to its twin, 0..1.

    Args:
        images, twins: uint8 (N, C, H, W).

    Returns:
        float64 (N,).

    Raises:
        NotMeasured: images smaller than 21 pixels.
    """
    count = scales(*images.shape[2:])
    planes = (x.reshape(-1, *images.shape[2:]) for x in (images, twins))
    values = [_channel(image, twin, count) for image, twin in zip(*planes, strict=True)]
    return np.reshape(values, images.shape[:2]).mean(1)


def _channel(image: np.ndarray, twin: np.ndarray, count: int) -> float:
    a, b = image.astype(np.float64), twin.astype(np.float64)
    weights = WEIGHTS[:count]
    if count < len(WEIGHTS):
        weights = weights / weights.sum()
    value = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            a, b = halved(a), halved(b)
        value *= max(_mean(a, b, luminance=scale == count - 1), 0.0) ** weight
    return value


def _mean(a: np.ndarray, b: np.ndarray, luminance: bool) -> float:
    """The mean of c over positions, or of s with the luminance, of planes (H, W)."""
    height, width = (size - WINDOW + 1 for size in a.shape)
    likeness = np.empty((height, width))
    for _, rows in strips(1, height, width):
        around = slice(rows.start, rows.stop + WINDOW - 1)
        likeness[rows] = _likeness(a[around], b[around], luminance)
    return float(likeness.mean())


def _likeness(a: np.ndarray, b: np.ndarray, luminance: bool) -> np.ndarray:
    """c or s at the positions of a strip where the window fits."""
    mean_a, mean_b = filtered(a, GAUSSIAN), filtered(b, GAUSSIAN)
    shared = filtered(a * b, GAUSSIAN) - mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    # The sum of both variances takes one filter.
    spread = filtered(a * a + b * b, GAUSSIAN) - squares
    likeness = (2 * shared + C_2) / (spread + C_2)
    if luminance:
        likeness *= (2 * mean_a * mean_b + C_1) / (squares + C_1)
    return likeness


class MsSsim(Likeness):
    """Mean MS-SSIM to the twins: `ms_ssim@N`, at fewer than five scales `ms_ssim_2scales@N`."""

    name = "ms_ssim"
    function = staticmethod(ms_ssim)

    def title(self, shape: tuple[int, ...]) -> str:
        """With the number of scales, where it is not that of the paper."""
        count = scales(*shape[1:])
        return self.name if count == len(WEIGHTS) else f"{self.name}_{count}scales"
