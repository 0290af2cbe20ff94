"""Pictures made of formulas, and what is done to them, for metrics with published programs."""

import numpy as np

from bench.core.protocols import Evidence, Features


def picture(height, width, channels=3):
    """Waves and a checkerboard, uint8 (1, C, H, W)."""
    y, x = np.mgrid[:height, :width]
    board = 15 * ((x // 16 + y // 16) % 2)
    planes = [
        128 + 60 * np.sin(x / (9 + 4 * c)) + 50 * np.cos(y / (13 - 2 * c)) + board
        for c in range(channels)
    ]
    return np.stack(planes).round().astype(np.uint8)[None]


def coarse(images, step):
    """With one value for each `step` of them."""
    return (images // step * step + step // 2).astype(np.uint8)


def blurred(images):
    """Means of each pixel, its upper and left neighbour, and the second to the left."""
    x = images.astype(int)
    shifted = np.roll(x, 1, 2) + np.roll(x, 1, 3) + np.roll(x, 2, 3)
    return ((x + shifted) // 4).astype(np.uint8)


def evidence(images, twins):
    """Evidence of images alone."""
    features = Features("toy", 1, np.zeros((len(images), 1)), np.arange(len(images)))
    return Evidence(images, twins, features, features, features)
