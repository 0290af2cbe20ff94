"""Which input size and which blocks of EfficientNet-Lite0 should the extractor use?

Real Fashion-MNIST test images 0..999 are degraded by Gaussian noise, bit depth and blur of rising
strength, or replaced by images that miss more and more of the ten classes, and held against the
clean images 1000..2999. Every level, the clean one included, is scored on 8 disjoint subsets of
N = 125. The step from a level to the next has z = (difference of mean scores) / (root of the sum
of the two variances over subsets). As variances fall with 1/N, the least N that separates two
levels by three standard deviations is 125 (3 / z)^2.

    python docs/experiments/feature_size.py 56 84 112        # about 15 minutes on one core
"""

from __future__ import annotations

import gzip
import sys

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from bench.measurement.data.fashion_mnist import DEBIAN, load
from bench.measurement.features.efficientnet import load_network, prepare, stage_means
from bench.measurement.features.moments import statistics
from bench.measurement.metrics.frechet import frechet_distance
from bench.measurement.metrics.kernel import kernel_distance

TEST, REAL, NUMBER = 1000, 2000, 125
BLOCKS = ((7,), (10,), (14,), (15,), (16,), (7, 10), (7, 14), (10, 14))
NOISE, BITS, BLUR, MISSING = (2, 4, 8, 16, 32), (6, 5, 4, 3, 2), (0.5, 0.7, 0.9), (1, 2, 4)


def degrade(images: Tensor) -> dict[str, list[Tensor]]:
    """Each kind of damage at rising strength."""
    x = images[:TEST].to(torch.float32)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    tops = [2**bits - 1 for bits in BITS]
    labels = gzip.decompress((DEBIAN / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    rest = images[TEST + REAL :]
    classes = torch.frombuffer(bytearray(labels), dtype=torch.uint8)[TEST + REAL :]
    levels = {
        "noise": [x + sigma * noise for sigma in NOISE],
        "bits": [(x / 255 * top).round() / top * 255 for top in tops],
        "blur": [gaussian_blur(x, [7, 7], [sigma, sigma]) for sigma in BLUR],
        "classes": [rest[classes >= missing][:TEST] for missing in MISSING],
    }
    return {k: [y.round().clamp(0, 255).to(torch.uint8) for y in v] for k, v in levels.items()}


@torch.inference_mode()
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


def cell(z: np.ndarray) -> str:
    """The z of all steps, marked where the order is wrong, and the least N of each."""
    least = [f"{NUMBER * (3 / step) ** 2:.0f}" if step > 0.1 else ">" for step in z]
    order = "" if z.min() > 0 else " (order wrong)"
    return f"{' '.join(f'{step:.2g}' for step in z)}{order}; N {' '.join(least)}"


def main(sizes: list[int]) -> None:
    """Print one Markdown row for each size, choice of blocks and metric."""
    torch.set_num_threads(1)
    images = load("test")
    kinds = degrade(images)
    print("| size | blocks | dim | metric |", " | ".join(kinds), "|")
    print("|---|---|---|---|" + "---|" * len(kinds))
    for size in sizes:
        network = load_network(size)
        real = extract(network, images[TEST : TEST + REAL], size)
        clean = extract(network, images[:TEST], size)
        levels = {k: [clean, *(extract(network, x, size) for x in v)] for k, v in kinds.items()}
        for blocks in BLOCKS:
            report(size, blocks, levels, real)


def report(size: int, blocks: tuple[int, ...], levels: dict, real: dict[int, np.ndarray]) -> None:
    """The rows of one extractor; no Fréchet distance where 125 images are far too few for it."""

    def join(means: dict[int, np.ndarray]) -> np.ndarray:
        return np.concatenate([means[block] for block in blocks], axis=1)

    y = join(real)
    for metric in ("kd",) if y.shape[1] > 400 else ("fd", "kd"):
        cells = [cell(steps([join(x) for x in v], y, metric)) for v in levels.values()]
        row = (size, " + ".join(map(str, blocks)), y.shape[1], metric, *cells)
        print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [56, 84, 112])
