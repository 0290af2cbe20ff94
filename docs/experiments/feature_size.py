"""Which input size and which blocks of EfficientNet-Lite0 should the extractor use?

Real Fashion-MNIST test images 0..599 are degraded by Gaussian noise, bit depth and blur of rising
strength and held against the clean images 600..1599. Every level, the clean one included, is
scored on 6 disjoint subsets of N = 100. The step from a level to the next has
z = (difference of mean scores) / (root of the sum of the two variances over subsets); as variances
fall with 1/N, the least N that separates the two by three standard deviations is 100 (3 / z)^2.

    python docs/experiments/feature_size.py 56 84 112        # about 10 minutes on one core
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from bench.data.fashion_mnist import load
from bench.features.efficientnet import load_network, prepare, stage_means
from bench.metrics.frechet import frechet_distance, statistics
from bench.metrics.kernel import kernel_distance

TEST, REAL, NUMBER, Z = 600, 1000, 100, 3.0
BLOCKS = ((7,), (10,), (14,), (10, 14), (15,), (16,))
NOISE, BITS, BLUR = (2, 8, 32), (6, 5, 4, 3, 2), (0.5, 0.8)


def degrade(images: Tensor) -> dict[str, list[Tensor]]:
    """Each kind of damage at rising strength, the clean images first."""
    x = images.to(torch.float32)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    tops = [2**bits - 1 for bits in BITS]
    kinds = {
        "noise": [x + sigma * noise for sigma in NOISE],
        "bits": [(x / 255 * top).round() / top * 255 for top in tops],
        "blur": [gaussian_blur(x, [7, 7], [sigma, sigma]) for sigma in BLUR],
    }
    rounded = {k: [y.round().clamp(0, 255).to(torch.uint8) for y in v] for k, v in kinds.items()}
    return {kind: [images, *levels] for kind, levels in rounded.items()}


def extract(network: torch.nn.Module, images: Tensor, size: int) -> dict[int, np.ndarray]:
    """Means of every block for images (N, 1, H, W), in batches of 100."""
    parts = [stage_means(network, prepare(batch, size)) for batch in images.split(100)]
    return {block: torch.cat([p[block] for p in parts]).numpy() for block in parts[0]}


def steps(levels: list[np.ndarray], real: np.ndarray, metric: str) -> np.ndarray:
    """z of each step from a level to the next."""
    scores = np.empty((len(levels), TEST // NUMBER))
    summary = statistics(real)
    for row, level in zip(scores, levels, strict=True):
        for column, subset in enumerate(np.split(level, len(row))):
            if metric == "fd":
                row[column] = frechet_distance(*statistics(subset), *summary)
            else:
                row[column] = kernel_distance(subset, real)[0]
    variance = scores.var(1, ddof=1)
    return np.diff(scores.mean(1)) / np.sqrt(variance[1:] + variance[:-1])


def main(sizes: list[int]) -> None:
    """Print one Markdown row for each size, choice of blocks and metric."""
    torch.set_num_threads(1)
    images = load("test")
    kinds, real_images = degrade(images[:TEST]), images[TEST : TEST + REAL]
    print("| size | blocks | dim | metric | damage | monotone | z of each step | least N |")
    print("|---|---|---|---|---|---|---|---|")
    for size in sizes:
        network, start = load_network(size), time.perf_counter()
        real = extract(network, real_images, size)
        print(f"size {size}: {REAL / (time.perf_counter() - start):.0f} images/s", file=sys.stderr)
        clean = extract(network, images[:TEST], size)
        levels = {
            kind: [clean, *(extract(network, level, size) for level in values[1:])]
            for kind, values in kinds.items()
        }
        for blocks in BLOCKS:
            report(size, blocks, levels, real)


def report(size: int, blocks: tuple[int, ...], levels: dict, real: dict[int, np.ndarray]) -> None:
    """The rows of one extractor."""

    def join(means: dict[int, np.ndarray]) -> np.ndarray:
        return np.concatenate([means[block] for block in blocks], axis=1)

    y = join(real)
    for metric in ("kd",) if y.shape[1] > 600 else ("fd", "kd"):
        for kind, values in levels.items():
            z = steps([join(level) for level in values], y, metric)
            least = [f"{NUMBER * (Z / step) ** 2:.0f}" if step > 0 else "-" for step in z]
            shown = " ".join(f"{step:.1f}" for step in z)
            monotone = "yes" if z.min() > 0 else "NO"
            row = (size, blocks, y.shape[1], metric, kind, monotone, shown, " ".join(least))
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [56, 84, 112])
