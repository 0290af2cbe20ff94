"""What it costs to share work out, and what it gains.

By default: seconds that the engine `processes` and the cache take for a batch of images, with one,
two and four workers that compute nothing but keep a batch of the shipped size each time; as a
share of the time that one thread takes to sample such a batch, measured in the same run. And the
memory of the process that hands out, for few and for many images. With `--engine ray` the same of
a Ray cluster of this machine.

With `--speedup`: `bench run --bits 4` in empty caches, by one worker with a thread for each core
and by as many workers of one thread, one after the other, again and again; the ratio of the
medians, and the shares of the workers' time that went into sampling, features and other things.
Beside it the same ratio of sampling and features alone, which is what the machine can give: where
a second thread helps a network as much as a second process, sharing out gains little. Then the
same by several workers with twice as many images.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.core import extensions
from bench.core.cell import Draw, expand
from bench.core.progress import Done
from bench.core.record import Record
from bench.core.scheme import Scheme
from bench.evaluation.generation import Generation
from bench.evaluation.parts import Part
from bench.evaluation.resolved import ResolvedCell, images_of
from bench.models.cards import card_file, load_cards, verify
from bench.system import artifacts
from bench.system.host import fingerprint

BATCH, STEPS = 50, 20
INNER = "sample", "features"
# What stands between the name of an engine and its number of workers.
LOCAL = {"processes": ":", "ray": ":local,"}


@dataclass(frozen=True)
class Keeping:
    """A worker that samples nothing, and keeps a batch of images for each part."""

    shape: tuple[int, ...]

    def __call__(self, items: Iterable[ResolvedCell | Part]) -> Iterator[Done | Record]:
        images = np.zeros((BATCH, *self.shape), np.uint8)
        for item in items:
            if isinstance(item, Part):
                path = item.images.path(item.batch)
                artifacts.save_array(path, artifacts.bound(path), images)
                yield Done(item, {"load": 1e-9, "sample": 1.0})
            else:
                yield Record(item.cell, item.host, "ok", None, (), {})


def reference(cache: Path, images: int) -> ResolvedCell:
    """The first shipped checkpoint in full precision, without features."""
    card = verify(load_cards(card_file(None))[0])
    draw = Draw(images=images, batch=BATCH, steps=STEPS)
    cell = expand([card], [Scheme.parse("w8a8")], ["simulated"], draw)[0]
    cell, host = replace(cell, metrics=("psnr",)), fingerprint()
    made = images_of(cell, host, cache)
    return ResolvedCell(cell, host, cache, cache / "none.json", made, made)


def sampled(wanted: ResolvedCell) -> float:
    """Seconds of a batch in one thread, the second of two."""
    generation = Generation("cpu")
    for k in range(2):
        start = time.perf_counter()
        for _ in generation.make(wanted.images, [k]):
            pass
        seconds = time.perf_counter() - start
    return seconds


def handed_out(
    engine: str, workers: int, images: int, shape: tuple[int, ...]
) -> tuple[float, int]:
    """Seconds of a batch beyond the workers' start, and the peak of this process's memory."""
    run = extensions.lookup("engines", f"{engine}{LOCAL[engine]}{workers}")
    with tempfile.TemporaryDirectory() as folder:
        wanted = reference(Path(folder), images)
        tracemalloc.start()
        ends: list[float] = []
        for told in run(Keeping(shape), [wanted]):
            if isinstance(told, Done):
                ends.append(time.perf_counter())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # The first tenth belongs to the start of processes.
    ends = ends[len(ends) // 10 :]
    return (ends[-1] - ends[0]) / (len(ends) - 1), peak


def overhead(engine: str, images: int) -> None:
    """Print the cost of sharing out."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # Workers of a cluster look for this module, too.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    with tempfile.TemporaryDirectory() as folder:
        wanted = reference(Path(folder), 2 * BATCH)
        batch = sampled(wanted)
        shape = np.load(wanted.images.path(0)).shape[1:]
    print(f"one batch of {BATCH} images, {STEPS} steps, one thread: {batch:.2f} s")
    cores = len(os.sched_getaffinity(0))
    for workers in (1, 2, 4) if engine == "processes" else (1, cores):
        seconds, peak = handed_out(engine, workers, images, shape)
        share = seconds / batch
        print(f"{workers} workers: {1e3 * seconds:6.1f} ms a batch, {share:.2%} of it; ", end="")
        print(f"{peak / 1e6:.1f} MB where it is handed out")
    few, many = (handed_out(engine, 2, count, shape)[1] for count in (images, 4 * images))
    print(f"memory for {4 * images} images against {images}: {many / few:.2f}")


@dataclass(frozen=True)
class Measured:
    """What one command took.

    Attributes:
        workers: how many it had.
        wall: seconds.
        cpu: seconds of cores, of all of its processes.
        stages: seconds of its workers by stage, as its records state them.
    """

    workers: int
    wall: float
    cpu: float
    stages: Mapping[str, float]

    @property
    def inner(self) -> float:
        """Seconds of sampling and features, were they spread evenly over the workers."""
        return sum(self.stages[stage] for stage in INNER) / self.workers

    @property
    def other(self) -> float:
        """The share of the workers' time that is neither sampling nor features."""
        return 1 - sum(map(self.share, INNER))

    def share(self, stage: str) -> float:
        """The share of the workers' time that a stage took."""
        return self.stages[stage] / (self.workers * self.wall)

    def __str__(self) -> str:
        parts = [f"{stage} {self.share(stage):.1%}" for stage in self.stages]
        rest = 1 - sum(map(self.share, self.stages))
        told = f"{self.other:.1%} neither sampling nor features"
        shares = ", ".join([*parts, f"start, checks, report and waiting {rest:.1%}"])
        return f"{self.wall:7.1f} s, {self.cpu:.0f} s of cores, {told} ({shares})"


def command(images: int, checkpoints: str, workers: int) -> Measured:
    """Run `bench run --bits 4` in an empty cache."""
    cores = len(os.sched_getaffinity(0))
    words = ["run", "--bits", "4", "--images", str(images), "--workers", str(workers)]
    words += ["--checkpoints", checkpoints] if checkpoints else []
    variables = {**os.environ, "OMP_NUM_THREADS": str(cores // workers)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        variables["BENCH_CACHE"] = str(Path(folder, "cache"))
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        program = [sys.executable, "-m", "bench", *words, "--out", str(out)]
        subprocess.run(program, env=variables, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        (path,) = out.glob("*/run.json")
        records = json.loads(path.read_text())["records"]
    stages: Counter[str] = Counter()
    for record in records:
        stages.update(record["seconds"])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(workers, wall, cpu, stages)


def speedup(images: int, checkpoints: str, rounds: int) -> None:
    """Print how much faster several workers are than one, and what is left of other things with
    twice as many images."""
    cores = len(os.sched_getaffinity(0))
    taken: dict[int, list[Measured]] = {1: [], cores: []}
    for _ in range(rounds):
        for count, measurements in taken.items():
            measurements.append(command(images, checkpoints, count))
            print(f"{count} x {cores // count} threads: {measurements[-1]}", flush=True)
    walls = [statistics.median(each.wall for each in taken[count]) for count in taken]
    inner = [statistics.median(each.inner for each in taken[count]) for count in taken]
    print(f"one worker / {cores} workers: {walls[0] / walls[1]:.2f}", flush=True)
    print(f"sampling and features alone: {inner[0] / inner[1]:.2f}", flush=True)
    print(f"{2 * images} images: {command(2 * images, checkpoints, cores)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speedup", action="store_true")
    parser.add_argument("--engine", choices=[*LOCAL], default="processes")
    parser.add_argument("--images", type=int, help="of a cell; 5000, with --speedup 500")
    parser.add_argument("--checkpoints", default="", help="with --speedup, which [default: all]")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.speedup:
        speedup(arguments.images or 500, arguments.checkpoints, arguments.rounds)
    else:
        overhead(arguments.engine, arguments.images or 5000)


if __name__ == "__main__":
    # Workers look for `Keeping` in the module of that name.
    import sharing

    sharing.main()
