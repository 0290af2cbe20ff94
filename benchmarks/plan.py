"""How long a large run takes and what it costs, from the seconds that a finished run states.

    python benchmarks/plan.py RUN --images 50000 --checkpoints 19 --schemes 6
        --machines 64 --workers 16 --price 0.5

Each record of RUN says how many seconds its stages took in a worker of that machine. A run of more
images takes more of what is done for each image (sampling, features, metrics), and as much as
before of what is done for each set of images (loading, quantizing). Work is shared out by batches,
so W workers take a W-th of it each; beside that each loads and quantizes a network for each set
that it comes to, at least one. Where several workers make one set, all but one wait until its
calibration is there, which is counted once more. A set is measured by one worker, and the kernel
distance takes time with the square of the images: a part of it is timed here, in one thread. What
sharing out itself costs is measured by `sharing.py`.

The workers of RUN were busy all at once, on a machine like those of the plan: 16 processes that
share a GPU are 16 workers, each as fast as it was beside the others.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.measurement.metrics import kernel

EACH_IMAGE = ("sample", "features", "metrics")
EACH_SET = ("load", "quantize")


@dataclass(frozen=True)
class Measured:
    """Medians over records of a kind: seconds of a worker for an image, and for a set of them."""

    image: float
    images: float

    @classmethod
    def of(cls, records: list[dict[str, Any]]) -> Measured:
        """From records that finished."""
        found = []
        for record in records:
            seconds, count = record["seconds"], record["cell"]["draw"]["images"]
            found.append(
                (
                    sum(seconds.get(stage, 0.0) for stage in EACH_IMAGE) / count,
                    sum(seconds.get(stage, 0.0) for stage in EACH_SET),
                )
            )
        image, images = zip(*found, strict=True)
        return cls(statistics.median(image), statistics.median(images))


@dataclass(frozen=True)
class Plan:
    """What is to be run, and on how many workers."""

    images: int
    checkpoints: int
    schemes: int
    workers: int

    def hours(self, full: Measured, quantized: Measured, pairs: float) -> float:
        """Wall time, where a million pairs of images take the kernel distance so many seconds."""
        sets = self.checkpoints * (1 + self.schemes)
        counts = (self.checkpoints, full), (self.checkpoints * self.schemes, quantized)
        work = sum(count * self.images * kind.image for count, kind in counts)
        each = quantized.images + pairs * (self.images / 1000) ** 2
        setup = math.ceil(sets / self.workers) * each
        waiting = quantized.images if self.workers > sets else 0.0
        return (work / self.workers + setup + waiting) / 3600


def seconds_of_pairs() -> float:
    """Seconds of the kernel distance for a million pairs of images with 1280 features."""
    x = np.random.default_rng(0).standard_normal((2000, 1280))
    kernel.kernel_sums(x[:1000], x[:1000])
    start = time.perf_counter()
    kernel.kernel_sums(x, x)
    return (time.perf_counter() - start) / 4


def kinds(run: Path) -> tuple[Measured, Measured]:
    """What a run says of sets in full precision, and of quantized ones.

    Cells from the cache state what they took when they were made; sets that another cell made,
    refusals and failures state nothing of images, and do not count.
    """
    records = json.loads((run / "run.json").read_text())["records"]
    done = [r for r in records if r["status"] == "ok" and r["seconds"].get("sample")]
    is_full = [r["cell"]["backend"] == "float" for r in done]
    full = [r for r, full in zip(done, is_full, strict=True) if full]
    return Measured.of(full), Measured.of([r for r in done if r not in full])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--images", type=int, default=50_000, help="of each set")
    parser.add_argument("--checkpoints", type=int, default=19)
    parser.add_argument("--schemes", type=int, default=6)
    parser.add_argument("--machines", type=int, default=1)
    parser.add_argument("--workers", type=int, required=True, help="of each machine")
    parser.add_argument("--price", type=float, default=0.0, help="of a machine for an hour")
    asked = parser.parse_args()
    full, quantized = kinds(asked.run)
    plan = Plan(asked.images, asked.checkpoints, asked.schemes, asked.machines * asked.workers)
    for name, kind in (("full precision", full), ("quantized", quantized)):
        told = f"{1e3 * kind.image:.1f} ms for an image, {kind.images:.0f} s for a set of them"
        print(f"{name}: {told}, in each worker")
    pairs = seconds_of_pairs()
    print(f"kernel distance: {pairs * (plan.images / 1000) ** 2:.0f} s for a set, on this machine")
    hours = plan.hours(full, quantized, pairs)
    total = plan.images * plan.checkpoints * (1 + plan.schemes)
    print(f"{total:,} images, {plan.workers} workers: {hours:.1f} h", end="")
    print(f", cost {hours * asked.machines * asked.price:,.0f}" if asked.price else "")


if __name__ == "__main__":
    main()
