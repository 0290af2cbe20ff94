"""FLIP: the difference that is seen when an image and its twin alternate (Andersson et al. 2020).

The authors' package `flip-evaluator` computes it, for images of low dynamic range at its usual 67
pixels per degree (a display 0.7 m wide with 3840 pixels, seen from 0.7 m): the mean over pixels of
an error in 0..1, 0 being equal. The mean is taken here, as the package's own is summed in float32
and is 0.001 off where all 512 x 512 pixels have one error. Grey images are taken as three equal
channels. The filters go beyond the border of small images, whose edge pixels they repeat.
"""

from __future__ import annotations

import numpy as np

from bench.measurement.metrics import identities
from bench.measurement.metrics.paired import Likeness


def flip(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """The mean error of each image against its twin.

    Args:
        images, twins: uint8 (N, 1 or 3, H, W), sRGB.

    Returns:
        float64 (N,), 0..1.
    """
    from flip_evaluator import evaluate

    values = []
    for image, twin in zip(_colours(images), _colours(twins), strict=True):
        errors, _, _ = evaluate(twin, image, "LDR", applyMagma=False, computeMeanError=False)
        values.append(errors.mean(dtype=np.float64))
    return np.array(values)


def _colours(images: np.ndarray) -> np.ndarray:
    """float32 (N, H, W, 3) in 0..1, as the package takes them."""
    n, _, height, width = images.shape
    planes = np.broadcast_to(images, (n, 3, height, width)).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(planes, np.float32) / np.float32(255)


class Flip(Likeness):
    """Mean FLIP error to the twins, 0..1: `flip@N`."""

    name = "flip"
    better = "lower"
    # The package has threads of its own and lets no other thread run meanwhile.
    parallel = False
    function = staticmethod(flip)

    def __init__(self) -> None:
        identities.flip()
