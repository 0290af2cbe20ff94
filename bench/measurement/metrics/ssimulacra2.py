"""SSIMULACRA 2.1 (Sneyers 2023): likeness as people who look for compression artefacts judge it.

Both images are taken to linear light and halved five times. At each of the six scales each of the
three components of XYB (opponent colours of JPEG XL, moved to 0..1) gives three maps of errors,
with means mu and (co)variances under a Gaussian window of deviation 1.5 pixels:

    structure   1 - (1 - (mu_a - mu_b)^2) (2 sigma_ab + C) / (sigma_a^2 + sigma_b^2 + C)
    ringing     edges of b that a lacks:   (1 + |b - mu_b|) / (1 + |a - mu_a|) - 1 where positive
    blurring    edges of a that b lacks:   the same where negative

The mean and the fourth root of the mean fourth power of each map, 108 numbers, are weighted and
put on a scale where 100 is equal, 90 is no visible difference, 70 is high and 50 medium quality;
strong distortions are negative. a is the full-precision twin: the two sides are not alike.

Weights and window are those of the authors' program (github.com/cloudinary/ssimulacra2), whose
Gaussian is a sum of three cosines (Charalampidis 2016) over pixels that are 0 outside of the
image. Here it is computed in float64, there in float32. The package `ssimulacra2` mirrors the
borders of one axis and drops the last scale below 225 pixels, which gives every later weight to
another map: it is off by up to 38 there.
"""

from __future__ import annotations

import functools

import numpy as np

from bench.measurement.metrics.filters import filtered, halved, strips
from bench.measurement.metrics.paired import Likeness, require_size

SCALES = 6
# The fifth scale has 8 pixels then, and the program goes on to the sixth.
LEAST_SIZE = 113
SIGMA, RADIUS = 1.5, 5
C = 0.0009
# From linear red, green and blue to the responses of the three kinds of cones.
CONES = np.array(
    [
        [0.30, 0.622, 0.078],
        [0.23, 0.692, 0.078],
        [0.24342268924547819, 0.20476744424496821, 0.55180986650955360],
    ]
)
BIAS = 0.0037930732552754493
# Weights of structure, ringing and blurring by mean, then by fourth power; a line a scale of X,
# then of Y and of B.
WEIGHTS = np.fromstring(
    """
    0.0 0.0007376606707406586 0.0 0.0 0.0007793481682867309 0.0
    0.0 0.0004371155730107379 0.0 1.1041726426657346 0.00066284834129271 0.00015231632783718752
    0.0 0.0016406437456599754 0.0 1.8422455520539298 11.441172603757666 0.0
    0.0007989109436015163 0.000176816438078653 0.0 1.8787594979546387 10.94906990605142 0.0
    0.0007289346991508072 0.9677937080626833 0.0
        0.00014003424285435884 0.9981766977854967 0.00031949755934435053
    0.0004550992113792063 0.0 0.0 0.0013648766163243398 0.0 0.0
    0.0 0.0 0.0 7.466890328078848 0.0 17.445833984131262
    0.0006235601634041466 0.0 0.0 6.683678146179332 0.00037724407979611296 1.027889937768264
    225.20515300849274 0.0 0.0 19.213238186143016 0.0011401524586618361 0.001237755635509985
    176.39317598450694 0.0 0.0 24.43300999870476 0.28520802612117757 0.0004485436923833408
    0.0 0.0 0.0 34.77906344483772 44.835625328877896 0.0
    0.0 0.0 0.0 0.0 0.0 0.0
    0.0 0.0008680556573291698 0.0 0.0 0.0 0.0
    0.0 0.0005313191874358747 0.0 0.00016533814161379112 0.0 0.0
    0.0 0.0 0.0 0.0004179171803251336 0.0017290828234722833 0.0
    0.0020827005846636437 0.0 0.0 8.826982764996862 23.19243343998926 0.0
    95.1080498811086 0.9863978034400682 0.9834382792465353
        0.0012286405048278493 171.2667255897307 0.9807858872435379
    0.0 0.0 0.0 0.0005130064588990679 0.0 0.00010854057858411537
    """,
    sep=" ",
).reshape(3, SCALES, 2, 3)
FACTOR = 0.9562382616834844
LINEAR, SQUARE, CUBE = 2.326765642916932, -0.020884521182843837, 6.248496625763138e-05
POWER = 0.6276336467831387


def ssimulacra2(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """The score of each image against its twin, 100 where they are equal.

    Args:
        images, twins: uint8 (N, 1 or 3, H, W), sRGB; grey ones are taken as equal channels.

    Returns:
        float64 (N,), at most 100, negative for strong distortions.

    Raises:
        NotMeasured: images smaller than LEAST_SIZE.
    """
    require_size("ssimulacra2", images, LEAST_SIZE)
    return np.array([_score(twin, image) for image, twin in zip(images, twins, strict=True)])


@functools.cache
def window() -> np.ndarray:
    """The weights of the filter at the distances 0 to 4; that of 5 is 0.

    The cosines of 1, 3 and 5 quarter waves over RADIUS whose sum has the area 1, the variance
    SIGMA^2 and, of what is left, the spectrum of the Gaussian (Charalampidis 2016, 37 to 56).
    """
    waves = np.array([1, 3, 5]) * np.pi / (2 * RADIUS)
    signs = np.array([1, -1, 1])
    area = signs / np.tan(waves / 2)
    spread = signs * area**2 / np.sin(waves)
    crossed = np.cross(area, spread)
    free = crossed / crossed[2]
    spectrum = np.exp(-(SIGMA**2) * waves**2 / 2) / RADIUS
    heights = np.linalg.solve([area, spread, free], [1, RADIUS**2 - SIGMA**2, free @ spectrum])
    return np.cos(np.outer(np.arange(RADIUS), waves)) @ heights


def _score(reference: np.ndarray, test: np.ndarray) -> float:
    pair = [_linear_light()[image] for image in (reference, test)]
    total = 0.0
    for scale in range(SCALES):
        if scale:
            pair = [halved(linear) for linear in pair]
        for component, (a, b) in enumerate(zip(*map(_components, pair), strict=True)):
            total += _error(a, b, WEIGHTS[component, scale])
    total *= FACTOR
    total = LINEAR * total + SQUARE * total**2 + CUBE * total**3
    return 100 - 10 * max(total, 0.0) ** POWER


@functools.cache
def _linear_light() -> np.ndarray:
    """Linear light of the 256 values of sRGB."""
    x = np.arange(256) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _components(linear: np.ndarray) -> np.ndarray:
    """X, Y and B - Y of linear light (1 or 3, H, W), each about 0..1, in a frame of zeros as wide
    as the filter reaches."""
    height, width = linear.shape[1:]
    reach = len(window()) - 1
    framed = np.zeros((3, height + 2 * reach, width + 2 * reach))
    inner = framed[:, reach : reach + height, reach : reach + width]
    for _, rows in strips(1, height, width):
        strip = linear[:, rows]
        red, green, blue = np.broadcast_to(strip, (3, *strip.shape[1:]))
        long, middle, short = (
            _cube_root(r * red + g * green + b * blue + BIAS) - np.cbrt(BIAS) for r, g, b in CONES
        )
        light = (long + middle) / 2
        inner[0, rows] = 7 * (long - middle) + 0.42
        inner[1, rows] = light + 0.01
        inner[2, rows] = short - light + 0.55
    return framed


def _cube_root(x: np.ndarray) -> np.ndarray:
    """The cube root of positive values in a third of the time of numpy's: of the root in float32
    one step of Halley's method, which triples the number of digits."""
    y = np.exp(np.log(x.astype(np.float32)) / np.float32(3)).astype(np.float64)
    cube = y * y * y
    return y * (cube + 2 * x) / (2 * cube + x)


def _error(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """The weighted errors of one component at one scale; maps without weight are left out."""
    if not weights.any():
        return 0.0
    frame = 2 * (len(window()) - 1)
    height, width = (size - frame for size in a.shape)
    sums, wanted = np.zeros(weights.shape), np.asarray(weights.any(0))
    for _, rows in strips(1, height, width):
        around = slice(rows.start, rows.stop + frame)
        sums += _sums(a[around], b[around], wanted)
    mean, fourth = sums / (height * width)
    return float(mean @ weights[0] + fourth**0.25 @ weights[1])


def _sums(a: np.ndarray, b: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The sum of errors and of their fourth powers over a strip, for each wanted map; (2, 3)."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    sums = np.zeros((2, 3))
    if wanted[0]:
        sums[:, 0] = _powers(_structure(a, b, mean_a, mean_b))
    if wanted[1:].any():
        reach = len(window()) - 1
        a, b = (x[reach:-reach, reach:-reach] for x in (a, b))
        edges = (1 + np.abs(b - mean_b)) / (1 + np.abs(a - mean_a)) - 1
        sums[:, 1] = _powers(np.maximum(edges, 0))
        sums[:, 2] = _powers(np.maximum(-edges, 0))
    return sums


def _structure(a: np.ndarray, b: np.ndarray, mean_a: np.ndarray, mean_b: np.ndarray) -> np.ndarray:
    shared = _blurred(a * b) - mean_a * mean_b
    # The sum of both variances takes one filter.
    spread = _blurred(a * a + b * b) - (mean_a**2 + mean_b**2)
    likeness = (1 - (mean_a - mean_b) ** 2) * (2 * shared + C) / (spread + C)
    return np.maximum(1 - likeness, 0)


def _blurred(strip: np.ndarray) -> np.ndarray:
    return filtered(strip, window())


def _powers(errors: np.ndarray) -> tuple[float, float]:
    return errors.sum(), np.square(np.square(errors)).sum()


class Ssimulacra2(Likeness):
    """Mean SSIMULACRA 2 score against the twins, at most 100: `ssimulacra2@N`."""

    name = "ssimulacra2"
    function = staticmethod(ssimulacra2)
