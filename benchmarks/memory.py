"""Peak memory of scoring 50,000 synthetic images of 32 x 32 pixels in 2048 dimensions.

    python benchmarks/memory.py [IMAGES ...]

The whole pipeline runs, but for two stand-ins that cost no time: a sampler that makes noise, and
features that are a random projection. Prints the peak beyond what is there once the network is
loaded, for each number of images; a process each, as a peak never falls.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DIM = 2048
IMAGES = (5_000, 50_000)


class Projection:
    """Stand-in for Inception: (B, 3, 32, 32) to (B, 2048)."""

    version, dim = 1, DIM

    def __init__(self) -> None:
        import torch

        self.matrix = torch.randn(3 * 32 * 32, DIM, generator=torch.Generator().manual_seed(0))

    def __call__(self, images: Any) -> Any:
        """Project, and rectify as Inception does."""
        return ((images.flatten(1).float() / 127.5 - 1) @ self.matrix / 40).relu()


def noise(denoise: Any, x_T: Any, levels: Any, noise: Any) -> Any:
    """Stand-in for a sampler: the noise itself."""
    return x_T


def measure(count: int, answer: Any) -> None:
    """Score and send (bytes beyond the network, seconds, distance)."""
    from bench.core import extensions
    from bench.core.cell import Cell, Checkpoint, Draw
    from bench.core.denoiser import Denoiser
    from bench.core.noise_levels import NoiseLevels
    from bench.core.progress import finished
    from bench.core.protocols import Statistics
    from bench.core.scheme import Scheme
    from bench.evaluation.pipeline import Pipeline
    from bench.evaluation.resolved import Resolver
    from bench.measurement.features import reference, statistics_files
    from bench.models.networks import build_network
    from bench.models.schedules import alpha_bar
    from bench.models.training.recipes import SMALL_NETWORK
    from bench.system import store
    from bench.system.host import fingerprint

    module = sys.modules["__main__"].__name__
    extensions.EXTRACTORS["projection"] = f"{module}:Projection"
    extensions.SAMPLERS["noise"] = f"{module}:noise"
    unet = SMALL_NETWORK["unet"] | {"sample_size": 32, "in_channels": 3, "out_channels": 3}
    network = build_network({"patch": 1, "unet": unet}).eval()
    denoiser = Denoiser(network, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (3, 32, 32))
    extensions.SOURCES["ready"] = f"{module}:ready"
    globals()["ready"] = lambda checkpoint: denoiser
    path = store.cache_root() / "reference" / reference.file_name("cifar10", "projection")
    real = Statistics(np.full(DIM, 0.5), np.eye(DIM), count)
    statistics_files.write(path.with_suffix(".npz"), {"projection": real}, "cifar10")
    draw = Draw("noise", 1, count, batch=500)
    card = Checkpoint("c", "c", "baseline", "ready", "", "0" * 64, "cifar10")
    cell = Cell(card, Scheme(), "float", draw, ("projection",), ("frechet",))
    host, cache = fingerprint(), store.cache_root()
    pipeline, wanted = Pipeline(host, cache), Resolver(host, cache).resolve(cell)
    pipeline.check([wanted])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    record = finished(pipeline.run(wanted))
    if record.status != "ok":
        raise SystemExit(record.error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.send((1024 * (peak - before), time.perf_counter() - start, record.measurements[0]))


def main() -> None:
    """Measure each number of images in a process of its own."""
    import os

    for count in map(int, sys.argv[1:]) if sys.argv[1:] else IMAGES:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["BENCH_CACHE"] = cache
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("fork").Process(
                target=measure, args=(count, theirs)
            )
            process.start()
            while process.is_alive() and not ours.poll(1):
                pass
            if not ours.poll():
                raise SystemExit(1)
            peak, seconds, found = ours.recv()
            process.join()
            size = sum(f.stat().st_size for f in Path(cache).rglob("*") if f.is_file())
            print(
                f"{count:6} images: {peak / 2**30:.2f} GiB beyond the network, "
                f"{size / 1e9:.2f} GB on disk, {seconds:.0f} s, {found.name} {found.value:.2f}"
            )


if __name__ == "__main__":
    main()
