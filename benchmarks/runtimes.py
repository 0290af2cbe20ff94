"""One network in every execution of a CPU: what people take today beside what bench runs.

For each width, batch and number of threads all executions alternate in one process, and the ratios
of the medians are printed, float32 of eager torch being 1; above 1 it is faster. The rows of loops
are one step of sampling, the others one forward pass. Weights are random.

Every measurement is appended to a file as it is made, with its machine, its versions and
`ONEDNN_MAX_CPU_ISA`, and what is in there is not measured again: a command that was stopped, or
that came to the end of its seconds, goes on when it is repeated. Compiled executions come last,
as they take a minute to build.
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
from pathlib import Path
from typing import Any

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
from bench.quant.kernels.onednn import saturates
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
BASE, EAGER, COMPILED = "torch eager", "eager", "compiled"
STEPS = 2
LIBRARIES = ("torch", "diffusers", "openvino", "onnxruntime")


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


def built(
    full: Denoiser, kind: str, inputs: tuple[torch.Tensor, ...]
) -> Iterator[tuple[str, torch.nn.Module | str]]:
    """Executions by name, or the reason why there is none."""
    if kind == COMPILED:
        model: Any = torch.compile(full.model, dynamic=False)
        yield "torch compiled", model
        backends = ["int8-x86:compiled"]
    else:
        for name in runtimes.RUNTIMES:
            reason = runtimes.refusal(name, "cpu")
            yield name, reason or runtimes.executed(name, full, len(inputs[0]))
        backends = ["simulated", "int8-x86", "int8-openvino"]
    # 4-bit weights are multiplied as bytes: they are faster only where 8-bit ones take two halves.
    for words in ("w8a8", "w4a8") if saturates() else ("w8a8",):
        for name in backends:
            scheme = Scheme.parse(f"{words}+minmax")
            if reason := refusal(name, scheme, fingerprint()):
                yield f"{words} {name}", reason
                continue
            backend = extensions.lookup("backends", name)()
            made = backend(full, scheme, OneEvaluation(inputs))
            yield f"{words} {name}", made.denoiser.model


def job(name: str, batch: int, kind: str, rounds: int, limit: float) -> Iterator[dict[str, Any]]:
    """Measure one network at one batch with one and with two threads."""
    full, generator = network(name), torch.Generator().manual_seed(0)
    x = torch.randn(batch, *full.shape, generator=generator)
    inputs = (x, torch.full((batch,), 500))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch._dynamo.reset()
        about = {"network": name, "batch": batch, "threads": threads, "kind": kind}
        with torch.inference_mode():
            full.model(*inputs)
            start = time.perf_counter()
            full.model(*inputs)
        expected = (rounds + 4) * 8 * (time.perf_counter() - start)
        if expected > limit:
            yield about | {"execution": BASE, "reason": f"needs about {expected:.0f} s"}
            continue
        calls: dict[str, Callable[[], object]] = {BASE: functools.partial(full.model, *inputs)}
        for execution, made in built(full, kind, inputs):
            if isinstance(made, str):
                yield about | {"execution": execution, "reason": made}
            else:
                calls[execution] = functools.partial(made, *inputs)
        steps = loops(full, batch) if kind == EAGER else {}
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
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return {"host": host.name, "isa": host.isa, "cap": cap, "versions": versions}


def table(rows: list[dict[str, Any]]) -> str:
    """The ratios of a machine: a column for each execution."""
    measured = [row for row in rows if "ratio" in row]
    names = list(dict.fromkeys(row["execution"] for row in measured))
    found: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in measured:
        cells = found.setdefault((row["network"], row["batch"], row["threads"]), {})
        if row["execution"] == BASE:
            cells.setdefault(BASE, f"1 ({1e3 * row['median']:.1f} ms)")
        else:
            cells[row["execution"]] = f"{row['ratio']:.2f}"
    lines = ["| " + " | ".join(["network", "batch", "threads", *names]) + " |"]
    lines.append("|---" * (3 + len(names)) + "|")
    for key, cells in found.items():
        words = [*map(str, key), *(cells.get(name, "") for name in names)]
        lines.append("| " + " | ".join(words) + " |")
    reasons = {f"{row['execution']}: {row['reason']}" for row in rows if "reason" in row}
    return "\n".join([*lines, *sorted(reasons)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--seconds", type=float, default=1200, help="begin nothing after these")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="the smallest network, 3 rounds")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    here, end = machine(), time.monotonic() + arguments.seconds
    if arguments.job:
        name, batch, kind = arguments.job
        for row in job(name, int(batch), kind, arguments.rounds, arguments.seconds):
            with arguments.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(here | row) + "\n")
        return
    rounds = 3 if arguments.quick else arguments.rounds
    names = list(NETWORKS)[:1] if arguments.quick else NETWORKS
    wanted = [(n, b, k) for k in (EAGER, COMPILED) for n in names for b in (1, 50)]
    wanted = wanted[:1] if arguments.quick else wanted
    for name, batch, kind in wanted:
        done = [row for row in _rows(arguments.out, here) if _is(row, name, batch, kind)]
        if any("ratio" in row for row in done):
            continue
        left = end - time.monotonic()
        if left <= 0:
            print(f"not begun: {name}, batch {batch}, {kind}", file=sys.stderr)
            continue
        print(f"{name}, batch {batch}, {kind}", file=sys.stderr)
        words = [sys.executable, __file__, "--job", name, str(batch), kind]
        words += ["--out", str(arguments.out), "--rounds", str(rounds), "--seconds", str(left)]
        subprocess.run(words, check=True)
    print(f"{here['isa']}, cap {here['cap'] or 'none'}, {here['versions']}\n")
    print(table(_rows(arguments.out, here)))


def _rows(path: Path, here: dict[str, Any]) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if here.items() <= row.items()]


def _is(row: dict[str, Any], name: str, batch: int, kind: str) -> bool:
    return (row["network"], row["batch"], row["kind"]) == (name, batch, kind)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
