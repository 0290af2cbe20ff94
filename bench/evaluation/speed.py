"""How fast and how large a checkpoint is in each execution, on this machine, in one run.

Float32 and bfloat16 stand beside the schemes, and where it is asked for full precision as other
runtimes execute it. The forward passes of all executions alternate, so
that their ratios hold also on a machine with other work; the times themselves do not compare
across machines.
"""

from __future__ import annotations

import ctypes
import functools
import pickle
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bench.core import extensions
from bench.core.cell import Checkpoint, Draw
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.halves import IN_HALVES, ONE_PASS
from bench.core.printable import say
from bench.core.record import Coverage
from bench.core.refusals import refusal
from bench.core.scheme import Scheme
from bench.evaluation.engines import template
from bench.models.samplers.drawing import check_guidance, images
from bench.models.samplers.noise import image_generators
from bench.models.samplers.trajectories import Trajectories
from bench.quant import runtimes
from bench.quant.executions import Bfloat16
from bench.system import devices, interrupts
from bench.system.host import fingerprint
from bench.system.timing import alternate

FLOATS = ("float32", "bfloat16")
CALIBRATION_STEPS = 4


@dataclass(frozen=True)
class Job:
    """One execution to build: also in another process, so everything in it is plain.

    Attributes:
        backend: name of a backend, or of `FLOATS`, or of `runtimes.RUNTIMES`.
        device: where it executes, from `devices.find`.
    """

    checkpoint: Checkpoint
    scheme: str
    backend: str
    draw: Draw
    device: str = devices.CPU

    def __str__(self) -> str:
        return self.backend if self.is_float else f"{self.scheme} {self.backend}"

    @property
    def is_float(self) -> bool:
        """Whether it is full precision, in whatever execution."""
        return self.backend in FLOATS or self.backend in runtimes.RUNTIMES


@dataclass(frozen=True)
class Timing:
    """One execution at one batch size.

    Attributes:
        execution: "float32", "bfloat16", a runtime, or a scheme and its backend.
        batch: images per forward pass; under guidance the network is given each of them twice.
        milliseconds, low, high: of one forward pass: median and quartiles.
        speedup: over float32, by the medians of this run.
        images_per_second: of sampling from noise to pixels, the whole loop.
        weights: bytes of the weights as they execute.
        working: bytes of memory that one forward pass takes beside them, at most.
    """

    execution: str
    batch: int
    milliseconds: float
    low: float
    high: float
    speedup: float
    images_per_second: float
    weights: int
    working: int


def measure(
    card: Checkpoint,
    kinds: Sequence[tuple[str, str]],
    draw: Draw,
    rounds: int,
    device: str = devices.CPU,
) -> list[Timing]:
    """Time all executions of a checkpoint at one batch size.

    Args:
        card: verified.
        kinds: (scheme, backend) of the executions beside the floats; ("fp32", name) of a runtime.
        draw: its batch and steps.
        rounds: forward passes of each, at least 2.
        device: where they execute.

    Raises:
        InputError: a backend refuses a scheme here.
    """
    wanted = [("fp32", name) for name in FLOATS] + list(kinds)
    jobs = [Job(card, scheme, backend, draw, device) for scheme, backend in wanted]
    built = {str(job): build(job) for job in jobs}
    if any(IN_HALVES in name for _, covered in built.values() for name in covered.macs_by_kernel):
        say(ONE_PASS, file=sys.stderr)
    inputs = _inputs(built["float32"][0], draw)
    with torch.inference_mode():
        calls = {name: functools.partial(d.model, *inputs) for name, (d, _) in built.items()}
        # The second of two rounds that do not count tells how long the rest takes.
        once = alternate(calls, 1, warm=1, device=device)
        left = sum(times[0] for times in once.values()) * (rounds + draw.steps)
        say(f"about {left:.0f} s of forward passes, then a process for each", file=sys.stderr)
        seconds = alternate(calls, rounds, warm=0, device=device)
        loops = {name: functools.partial(_sample, d, draw) for name, (d, _) in built.items()}
        whole = alternate(loops, 1, warm=0, device=device)
    working = {str(job): _in_a_process(job) for job in jobs}
    base = statistics.median(seconds["float32"])
    timings = []
    for name, (_, coverage) in built.items():
        low, middle, high = (1e3 * value for value in statistics.quantiles(seconds[name], n=4))
        timings.append(
            Timing(
                name,
                draw.batch,
                *(middle, low, high, 1e3 * base / middle),
                images_per_second=draw.batch / whole[name][0],
                weights=coverage.bytes_memory,
                working=working[name],
            )
        )
    return timings


def build(job: Job) -> tuple[Denoiser, Coverage]:
    """The network of a job, and its coverage.

    Raises:
        InputError: the backend refuses the scheme here.
    """
    scheme = Scheme.parse(job.scheme)
    loaded = extensions.lookup("sources", job.checkpoint.source)(job.checkpoint)
    full = devices.placed(loaded, job.device)
    name = "float" if job.is_float else job.backend
    if job.backend in runtimes.RUNTIMES and (reason := runtimes.refusal(job.backend, job.device)):
        raise InputError(reason)
    if reason := refusal(name, scheme, fingerprint(job.device)):
        raise InputError(reason)
    backend = extensions.lookup("backends", name)()
    sampler = extensions.lookup("samplers", job.draw.sampler)
    # The ranges do not matter to the speed.
    draw = replace(job.draw, steps=CALIBRATION_STEPS)
    calibrate = Trajectories(full, draw, sampler, scheme.calibration)
    made = backend(full, scheme, calibrate)
    if job.backend == "bfloat16":
        half = replace(made.coverage, bytes_memory=made.coverage.bytes_memory // 2)
        return replace(made.denoiser, model=Bfloat16(made.denoiser.model).eval()), half
    if job.backend in runtimes.RUNTIMES:
        model = runtimes.executed(job.backend, made.denoiser, calibrate.shape[0])
        return replace(made.denoiser, model=model), made.coverage
    return made.denoiser, made.coverage


def _inputs(denoiser: Denoiser, draw: Draw) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(draw.batch, *denoiser.shape, generator=generator).to(denoiser.device)
    level = denoiser.levels.at(len(denoiser.levels) // 2)
    if not draw.is_guided:
        return denoiser.inputs(x, level)
    check_guidance(denoiser, draw)
    drawn = torch.zeros(draw.batch, dtype=torch.int64, device=denoiser.device)
    return denoiser.guided_inputs(x, level, denoiser.labels(drawn))


def _sample(denoiser: Denoiser, draw: Draw) -> None:
    sampler = extensions.lookup("samplers", draw.sampler)
    generators = image_generators("images", draw.seed, range(draw.batch))
    images(denoiser, sampler, generators, draw)


def _in_a_process(job: Job) -> int:
    """`working_memory` in a process of its own, with nothing else in it."""
    # Isolated (-I) nothing is imported from the working folder; what this process imports from is
    # handed over instead.
    code = "import sys; sys.path[:] = sys.argv[1:]; import pickle; "
    code += f"from {interrupts.__name__} import end_at_once; end_at_once(); "
    code += f"from {__name__} import working_memory; "
    code += "print(working_memory(pickle.load(sys.stdin.buffer)))"
    words = [sys.executable, "-I", "-c", code, *template.paths()]
    with interrupts.held_back():
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        try:
            output, _ = child.communicate(pickle.dumps(job))
        except BaseException:
            child.kill()
            raise
    if child.returncode < 0:
        raise MemoryError(f"{job}: the process that measures it was ended by the system")
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, words)
    return int(output.split()[-1])


def working_memory(job: Job) -> int:
    """Bytes that one forward pass takes at most beside what the process holds; 0 if unknown.

    Linux keeps the peak of a process's resident memory, and forgets it on request; of a GPU torch
    keeps what it allocated.
    """
    denoiser, _ = build(job)
    inputs = _inputs(denoiser, job.draw)
    with torch.inference_mode():
        denoiser.model(*inputs)
        if job.device != devices.CPU:
            return _allocated(denoiser, inputs)
        try:
            # Give back what is free, else the pass would use it unseen.
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            before = _status("VmRSS")
            denoiser.model(*inputs)
            return max(_status("VmHWM") - before, 0)
        except (OSError, AttributeError):
            return 0


def _allocated(denoiser: Denoiser, inputs: Sequence[Tensor]) -> int:
    """The most memory of an accelerator that torch holds during a pass, less that before."""
    accelerator = torch.accelerator
    try:
        before = accelerator.memory_allocated(denoiser.device)
        accelerator.reset_peak_memory_stats(denoiser.device)
    except (RuntimeError, NotImplementedError):
        return 0
    denoiser.model(*inputs)
    return accelerator.max_memory_allocated(denoiser.device) - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
