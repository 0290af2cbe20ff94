"""CPU time of each paired metric on one core, by itself and as a multiple of SSIM's.

The pairs are noise of +-6 over noise of the same size, in colour; the time of no metric depends on
what is to be seen. LPIPS and DISTS run on backbones of random weights.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from torchvision import models

from bench.core import extensions
from bench.measurement.metrics import backbones
from bench.measurement.metrics.pair_blocks import per_image

NAMES = ("ssim", "psnr", "ms_ssim", "ssimulacra2", "flip", "lpips", "lpips_vgg", "dists")


def seconds(function: Callable[[np.ndarray, np.ndarray], np.ndarray], pairs: list) -> float:
    """CPU seconds for one pair, after a first one that is not counted."""
    per_image(function, *(images[:1] for images in pairs), parallel=False)
    start = time.process_time()
    per_image(function, *pairs, parallel=False)
    return (time.process_time() - start) / len(pairs[0])


def main() -> None:
    """Print a line for each metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    given = parser.parse_args()
    torch.set_num_threads(1)
    networks = {n: getattr(models, n)(weights=None).features.eval() for n in ("alexnet", "vgg16")}
    backbones.layers = networks.__getitem__  # type: ignore[assignment]
    backbones.find = lambda backbone: Path()  # type: ignore[assignment]
    random = np.random.default_rng(0)
    twins = random.integers(20, 230, (given.pairs, 3, given.size, given.size), np.uint8)
    images = twins + random.integers(-6, 7, twins.shape, np.int8).astype(np.uint8)
    first = 0.0
    for name in NAMES:
        metric = extensions.lookup("metrics", name)()
        count = given.pairs if name not in ("lpips_vgg", "dists") else -(-given.pairs // 5)
        taken = seconds(metric.function, [images[:count], twins[:count]])
        first = first or taken
        print(
            f"{name:12s} {taken * 1000:6.0f} s for 1,000 pairs of {given.size} pixels, "
            f"{taken / first:5.2f} x ssim",
            flush=True,
        )


if __name__ == "__main__":
    main()
