"""What paired metrics cost: CPU time on one core, and pairs of PNG files to numbers end to end.

The first table has each metric by itself and as a multiple of SSIM's. The second one scores two
folders of PNG as `bench score` does, decoding included, with each metric alone, then with five at
once, whose pictures are read once for all of them. Start-up is left out, and so is what is
computed of the real images alone; the kernel distance to them takes about a second whatever the
number of pairs, so take some hundred pairs.

The pairs are noise of +-6 over noise of the same size, in colour; the time of no metric depends on
what is to be seen, but PNG of noise is large and slow to decode. LPIPS and DISTS run on backbones
of random weights.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from PIL import Image
from torchvision import models

from bench.core import extensions
from bench.evaluation import elsewhere
from bench.measurement.data import pictures
from bench.measurement.metrics import backbones
from bench.measurement.metrics.pair_blocks import per_image
from bench.system.host import fingerprint

NAMES = ("ssim", "psnr", "ms_ssim", "ssimulacra2", "flip", "lpips", "lpips_vgg", "dists")
# Those of the second table.
PLAIN = ("psnr", "ssim", "ms_ssim", "ssimulacra2")


def seconds(function: Callable[[np.ndarray, np.ndarray], np.ndarray], pairs: list) -> float:
    """CPU seconds for one pair, after a first one that is not counted."""
    per_image(function, *(images[:1] for images in pairs), parallel=False)
    start = time.process_time()
    per_image(function, *pairs, parallel=False)
    return (time.process_time() - start) / len(pairs[0])


def rates(pairs: list[np.ndarray], threads: int) -> None:
    """Print pairs per second from PNG files to numbers, and the most memory so far.

    Args:
        pairs: images and twins, uint8 (N, 3, H, W).
        threads: of the scoring.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        for side, images in zip(("test", "reference"), pairs, strict=True):
            Path(folder, side).mkdir()
            for k, image in enumerate(images):
                Image.fromarray(image.transpose(1, 2, 0)).save(Path(folder, side, f"{k:04d}.png"))
        places = {side: pictures.find(Path(folder, side)) for side in ("reference", "test")}
        few = {side: replace(place, names=place.names[:3]) for side, place in places.items()}
        asked = elsewhere.Asked(few, "fashion-mnist", metrics=(*PLAIN, "kernel"))
        elsewhere.score(asked, fingerprint(), Path(folder, "first"))
        for metrics in (*((name,) for name in PLAIN), (*PLAIN, "kernel")):
            asked = elsewhere.Asked(places, "fashion-mnist", metrics=metrics)
            wall, cpu = time.perf_counter(), time.process_time()
            elsewhere.score(asked, fingerprint(), Path(folder, "cache", "-".join(metrics)))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            count = len(pairs[0])
            print(
                f"{'+'.join(metrics):42s} {count / wall:6.2f} pairs/s with {threads} threads, "
                f"{cpu / count * 1000:6.0f} CPU seconds for 1,000 pairs; {memory:5.0f} MB at most",
                flush=True,
            )


def main() -> None:
    """Print a line for each metric, then for each scoring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only-rates", action="store_true", help="leave out the first table")
    given = parser.parse_args()
    random = np.random.default_rng(0)
    twins = random.integers(20, 230, (given.pairs, 3, given.size, given.size), np.uint8)
    images = twins + random.integers(-6, 7, twins.shape, np.int8).astype(np.uint8)
    if not given.only_rates:
        times([images, twins])
    rates([images, twins], given.threads)


def times(pairs: list[np.ndarray]) -> None:
    """Print the CPU time of each metric on one core."""
    torch.set_num_threads(1)
    networks = {n: getattr(models, n)(weights=None).features.eval() for n in ("alexnet", "vgg16")}
    backbones.layers = networks.__getitem__  # type: ignore[assignment]
    backbones.find = lambda backbone: Path()  # type: ignore[assignment]
    first, size = 0.0, pairs[0].shape[-1]
    for name in NAMES:
        metric = extensions.lookup("metrics", name)()
        whole = len(pairs[0])
        count = whole if name not in ("lpips_vgg", "dists") else -(-whole // 5)
        taken = seconds(metric.function, [side[:count] for side in pairs])
        first = first or taken
        print(
            f"{name:12s} {taken * 1000:6.0f} s for 1,000 pairs of {size} pixels, "
            f"{taken / first:5.2f} x ssim",
            flush=True,
        )


if __name__ == "__main__":
    main()
