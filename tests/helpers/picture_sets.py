"""Small folders of pictures, as two programs would make them from the same prompts."""

from __future__ import annotations

import numpy as np
from PIL import Image


def pictures(count=12, sizes=((40, 48),), channels=3, seed=0):
    """uint8 (H, W, C) by name; sizes (H, W) take turns."""
    generator = np.random.default_rng(seed)
    made = {}
    for k in range(count):
        height, width = sizes[k % len(sizes)]
        coarse = generator.integers(0, 256, (height // 8, width // 8, channels))
        made[f"p{k:02d}"] = np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)
    return made


def moved(made, size=4, seed=1):
    """The pictures with noise of a few levels."""
    generator = np.random.default_rng(seed)
    noisy = {name: x + generator.normal(0, size, x.shape).round() for name, x in made.items()}
    return {name: x.clip(0, 255).astype(np.uint8) for name, x in noisy.items()}


def save(folder, made, suffix=".png", **options):
    """Write pictures; the folder."""
    for name, x in made.items():
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image(x).save(path, **options)
    return folder


def image(x):
    """The picture of an array (H, W, 1 or 3)."""
    return Image.fromarray(x[..., 0] if x.shape[2] == 1 else x)
