"""One network in every execution of a CPU: what people take today beside what bench runs.

For each width, batch and number of threads all executions alternate in one process, and the ratios
of the medians are printed, float32 of eager torch being 1; above 1 it is faster. The rows of loops
are one step of sampling, the others one forward pass. Weights are random.

Every measurement is appended to a file as it is made, with its machine, its versions and the caps
on its instructions, and what is in there is not measured again: a command that was stopped, or
that came to the end of its seconds, goes on when it is repeated. Parts come in the order in which
they are asked for:

    grid      every execution in eager torch, one and two threads, batch 1 and 50
    steps     integers under caps: as on CPUs with AVX2, AVX-512, and AVX-512 with VNNI; without
              VNNI also W7A8 and W4A8, which run in one pass where W8A8 takes two
    large     integers of the networks that take long, one thread, batch 50
    threads   integers with two threads, which compute a batch, or each a half of it (streams);
              the smallest network as on a CPU with AVX2, too, and compiled
    compiled  torch's compiler, which takes a minute to build

    python benchmarks/runtimes.py --parts steps,threads,large,compiled --seconds 900
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

from bench.core import extensions
from bench.core.cell import Draw
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.refusals import refusal
from bench.core.scheme import Scheme
from bench.models.networks import build_network
from bench.models.samplers.ddim import ddim
from bench.models.samplers.drawing import images
from bench.models.samplers.noise import image_generators
from bench.models.schedules import alpha_bar
from bench.models.training.recipes import SMALL_NETWORK
from bench.quant import runtimes
from bench.system import instructions
from bench.system.host import fingerprint
from bench.system.timing import alternate

CIFAR10 = {
    "sample_size": 32,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "block_out_channels": [128, 256, 256, 256],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
NETWORKS = {"(16, 32, 64)": [16, 32, 64], "(128, 256, 256)": [128, 256, 256], "ddpm-cifar10": None}
BASE, EAGER, INTEGERS, COMPILED = "torch eager", "eager", "integers", "compiled"
THREADS = "streams"
# Executions of a kind, which says how long it takes, and its backends.
COUNTS = {EAGER: 8, INTEGERS: 4, COMPILED: 3, THREADS: 4}
BACKENDS = {
    EAGER: ("simulated", "int8-x86", "int8-openvino"),
    INTEGERS: ("int8-x86", "int8-openvino"),
    COMPILED: ("int8-x86:compiled",),
    THREADS: ("int8-x86", "int8-openvino", "int8-openvino:streams"),
}
STEPS = 2
# On CPUs without VNNI.
HALVED = ("w8a8", "w7a8", "w4a8")
# What makes a CPU do as an older one: torch's oneDNN and its loops, and OpenVINO's two.
CAPS = {
    "AVX2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OV_CPU_MAX_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
    "AVX512_CORE": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "AVX512_CORE_VNNI": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
}
LIBRARIES = ("torch", "diffusers", "openvino", "onnxruntime")


@dataclass(frozen=True)
class Job:
    """A network at one batch, in a process of its own: threads, kind of executions, and cap."""

    network: str
    batch: int
    threads: tuple[int, ...]
    kind: str
    cap: str = ""

    def words(self) -> list[str]:
        """As the process is told of it."""
        return [self.network, str(self.batch), ",".join(map(str, self.threads)), self.kind]


SMALL, WIDE, CIFAR = NETWORKS
PARTS = {
    "grid": [Job(name, batch, (1, 2), EAGER) for name in NETWORKS for batch in (1, 50)],
    "steps": [
        Job(name, batch, (1,), INTEGERS, cap)
        for cap in CAPS
        for name, batch in ((SMALL, 50), (WIDE, 8))
    ],
    "threads": [Job(name, 50, (2,), THREADS) for name in (SMALL, WIDE)]
    + [Job(SMALL, 50, (2,), THREADS, "AVX2"), Job(SMALL, 50, (2,), COMPILED)],
    "large": [Job(name, 50, (1,), INTEGERS) for name in (WIDE, CIFAR)],
    "compiled": [
        Job(name, batch, (1,), COMPILED)
        for name, batch in ((SMALL, 50), (SMALL, 1), (WIDE, 8), (CIFAR, 1))
    ],
}


class OneEvaluation:
    """A calibration by one evaluation: the ranges do not matter to the speed."""

    place = plain = None

    def __init__(self, inputs: tuple[torch.Tensor, ...]) -> None:
        self.shape, self.kept = tuple(inputs[0].shape), [inputs]

    def __call__(self, model: Callable[..., torch.Tensor]) -> str:
        """Evaluate."""
        model(*self.kept[0])
        return ""


def network(name: str) -> Denoiser:
    """A network of random weights."""
    config: dict[str, Any] = copy.deepcopy(SMALL_NETWORK)
    if NETWORKS[name] is None:
        config["unet"] = CIFAR10
    else:
        config["unet"]["block_out_channels"] = NETWORKS[name]
    torch.manual_seed(0)
    model = build_network(config).eval().requires_grad_(False)
    shape = (config["unet"]["in_channels"], *(config["unet"]["sample_size"],) * 2)
    return Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", shape)


def loops(full: Denoiser, batch: int) -> dict[str, Callable[[], object]]:
    """Sampling by diffusers and by bench, of a network in eager torch."""
    draw = Draw(steps=STEPS, batch=batch)
    scheduler = DDIMScheduler(
        1000, beta_schedule="squaredcos_cap_v2", timestep_spacing=draw.spacing
    )
    unet = full.model.unet
    assert isinstance(unet, UNet2DModel)
    pipeline = DDIMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)

    def theirs() -> None:
        generators = [torch.Generator().manual_seed(i) for i in range(batch)]
        pipeline(batch, generator=generators, num_inference_steps=STEPS, output_type="np")

    def ours() -> None:
        images(full, ddim, image_generators("images", 0, range(batch)), draw)

    return {"diffusers loop": theirs, "bench loop": ours}


def schemes(isa: str, kind: str) -> tuple[str, ...]:
    """What is measured on a CPU. Weights of fewer bits are multiplied as bytes, so they are
    faster only where 8-bit ones take two halves; there nothing is gained by compiling."""
    saturates = instructions.of_onednn(isa) not in instructions.VNNI
    return HALVED if saturates and kind != COMPILED else HALVED[:1]


def built(
    full: Denoiser, kind: str, inputs: tuple[torch.Tensor, ...]
) -> Iterator[tuple[str, torch.nn.Module | str]]:
    """Executions by name, or the reason why there is none."""
    if kind == COMPILED:
        model: Any = torch.compile(full.model, dynamic=False)
        yield "torch compiled", model
    for name in {EAGER: list(runtimes.RUNTIMES), INTEGERS: ["float-openvino"]}.get(kind, []):
        reason = runtimes.refusal(name, "cpu")
        yield name, reason or runtimes.executed(name, full, len(inputs[0]))
    for words in schemes(fingerprint().isa, kind):
        for name in BACKENDS[kind]:
            scheme = Scheme.parse(f"{words}+minmax")
            if reason := refusal(name, scheme, fingerprint()):
                yield f"{words} {name}", reason
                continue
            backend = extensions.lookup("backends", name)()
            made = backend(full, scheme, OneEvaluation(inputs))
            yield f"{words} {name}", made.denoiser.model


def measured(job: Job, rounds: int, limit: float) -> Iterator[dict[str, Any]]:
    """Measure a job: its executions alternate."""
    full, generator = network(job.network), torch.Generator().manual_seed(0)
    x = torch.randn(job.batch, *full.shape, generator=generator)
    inputs = (x, torch.full((job.batch,), 500))
    for threads in job.threads:
        torch.set_num_threads(threads)
        torch._dynamo.reset()
        about = {"network": job.network, "batch": job.batch, "threads": threads}
        about |= {"kind": job.kind}
        with torch.inference_mode():
            full.model(*inputs)
            start = time.perf_counter()
            full.model(*inputs)
        others = schemes(fingerprint().isa, job.kind)[1:]
        count = COUNTS[job.kind] + len(BACKENDS[job.kind]) * len(others)
        expected = (rounds + 4) * count * (time.perf_counter() - start)
        if expected > limit:
            yield about | {"execution": BASE, "reason": f"needs about {expected:.0f} s"}
            continue
        calls: dict[str, Callable[[], object]] = {BASE: functools.partial(full.model, *inputs)}
        for execution, made in built(full, job.kind, inputs):
            if isinstance(made, str):
                yield about | {"execution": execution, "reason": made}
            else:
                calls[execution] = functools.partial(made, *inputs)
        steps = loops(full, job.batch) if job.kind == EAGER else {}
        with torch.inference_mode():
            seconds = alternate(calls | steps, rounds, warm=1)
        for execution, values in seconds.items():
            each = [value / (STEPS if execution in steps else 1) for value in values]
            low, middle, high = statistics.quantiles(each, n=4)
            ratio = statistics.median(seconds[BASE]) / middle
            times = {"median": middle, "low": low, "high": high, "ratio": ratio}
            yield about | {"execution": execution, "rounds": rounds, **times}


def machine() -> dict[str, Any]:
    """What decides whether two measurements are of one machine."""
    host = fingerprint()
    from importlib import metadata

    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "missing"
    return {"host": host.name, "isa": host.isa, "versions": versions}


def table(rows: list[dict[str, Any]]) -> str:
    """The ratios of a part: a column for each execution."""
    measured = [row for row in rows if "ratio" in row]
    names = list(dict.fromkeys(row["execution"] for row in measured))
    found: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in measured:
        key = caps_of(row["isa"]), row["network"], row["batch"], row["threads"]
        cells = found.setdefault(key, {})
        if row["execution"] == BASE:
            cells.setdefault(BASE, f"1 ({1e3 * row['median']:.1f} ms)")
        else:
            cells[row["execution"]] = f"{row['ratio']:.2f}"
    titles = ["cap", "network", "batch", "threads", *map(_titled, names)]
    lines = ["| " + " | ".join(titles) + " |"]
    lines.append("|---" * (4 + len(names)) + "|")
    for key, cells in found.items():
        words = [*map(str, key), *(cells.get(name, "") for name in names)]
        lines.append("| " + " | ".join(words) + " |")
    reasons = {f"{row['execution']}: {row['reason']}" for row in rows if "reason" in row}
    return "\n".join([*lines, *sorted(reasons)])


def _titled(execution: str) -> str:
    """An execution as a column is headed: W8A8 `int8-x86`."""
    words, _, name = execution.rpartition(" ")
    if words in ("", *HALVED):
        return f"{words.upper()} `{name}`".lstrip()
    return execution


def caps_of(isa: str) -> str:
    """The caps of a measurement in a word."""
    told = instructions.caps(isa)
    return told.get("ONEDNN_MAX_CPU_ISA", "") or ", ".join(told) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--parts", default="grid,steps,compiled", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=1200, help="begin nothing after these")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="the smallest network, 3 rounds")
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        name, batch, threads, kind = asked.job
        job = Job(name, int(batch), tuple(map(int, threads.split(","))), kind)
        for row in measured(job, asked.rounds, asked.seconds):
            with asked.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(machine() | row) + "\n")
        return
    jobs = [job for part in asked.parts.split(",") for job in PARTS[part]]
    if asked.quick:
        asked.rounds, jobs = 3, [job for job in jobs if job.network == SMALL][:1]
    end = time.monotonic() + asked.seconds
    for job in jobs:
        _measure(job, asked, end - time.monotonic())
    here = machine()
    print(f"{here['isa']}, {here['versions']}")
    rows = _rows(asked.out)
    for part in asked.parts.split(","):
        print(f"\n{part}, medians of {asked.rounds} rounds, {date.today()}:\n")
        print(table([row for row in rows if any(_is(row, job) for job in PARTS[part])]))


def _measure(job: Job, asked: argparse.Namespace, left: float) -> None:
    """Have a process measure a job, unless that was done or the time is over."""
    rows = [row for row in _rows(asked.out) if "ratio" in row and _is(row, job)]
    kept = {(row["threads"], row["execution"].split()[0]) for row in rows}
    needed = schemes(_isa(job), job.kind)
    wanted = tuple(each for each in job.threads if {(each, words) for words in needed} - kept)
    said = f"{job.network}, batch {job.batch}, {job.kind} {job.cap}"
    if not wanted:
        return
    if left <= 0:
        print(f"not begun: {said}", file=sys.stderr)
        return
    print(said, file=sys.stderr)
    words = [sys.executable, __file__, "--job", *replace(job, threads=wanted).words()]
    words += ["--out", str(asked.out), "--rounds", str(asked.rounds), "--seconds", str(left)]
    subprocess.run(words, check=True, env=_environment(job))


def _rows(path: Path) -> list[dict[str, Any]]:
    """What is kept of this machine and these versions, under all caps."""
    if not path.exists():
        return []
    here = machine()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    same = [row for row in rows if all(row[name] == here[name] for name in ("host", "versions"))]
    return [row for row in same if instructions.cpu(row["isa"]) == instructions.cpu(here["isa"])]


def _is(row: dict[str, Any], job: Job) -> bool:
    same = (row["network"], row["batch"], row["kind"]) == (job.network, job.batch, job.kind)
    return same and row["threads"] in job.threads and row["isa"] == _isa(job)


def _environment(job: Job) -> dict[str, str]:
    return {**os.environ, **CAPS.get(job.cap, {})}


def _isa(job: Job) -> str:
    """The instruction set of a job's process."""
    with mock.patch.dict(os.environ, _environment(job)):
        return instructions.instruction_set()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
