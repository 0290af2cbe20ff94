"""Images/s of the embedded extractor against its network as it is published, and by batch.

    python benchmarks/features.py

The published network takes 50 images at once, as bench samples them; the extractor takes them
whole and splits them itself, into batches of the size that is named. All alternate, so that a
change of the machine's load hits all; the ratios of the medians are printed, above 1 is faster.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from bench.measurement.features import efficientnet
from bench.system.host import fingerprint
from bench.system.timing import alternate

TOGETHER, SIZES = 50, (5, 10, 16, 25, 50)
BASE = "as published"


def published(network: torch.nn.Module, images: Tensor) -> Tensor:
    """Features of the network as it is."""
    means = efficientnet.stage_means(
        network, efficientnet.prepare(images), max(efficientnet.STAGES)
    )
    return torch.cat([means[stage] for stage in efficientnet.STAGES], dim=1)


def split(extract: efficientnet.EfficientNet, size: int, images: Tensor) -> Tensor:
    """Features of the extractor, so many images at a time."""
    efficientnet.BATCH = size
    return extract(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (TOGETHER, 1, 28, 28), generator=generator, dtype=torch.uint8)
    network, extract = efficientnet.load_network(), efficientnet.EfficientNet()
    calls: dict[str, Callable[[], object]] = {BASE: functools.partial(published, network, images)}
    for size in SIZES:
        calls[f"{size} at a time"] = functools.partial(split, extract, size, images)
    for threads in asked.threads:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            seconds = alternate(calls, asked.rounds, warm=1)
        base = statistics.median(seconds[BASE])
        print(f"{fingerprint().isa}, {threads} threads: {BASE} {TOGETHER / base:.0f} images/s")
        for name, values in seconds.items():
            print(f"  {name:14} {base / statistics.median(values):5.2f}")


if __name__ == "__main__":
    main()
