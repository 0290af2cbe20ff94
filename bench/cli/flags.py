"""Flags of the commands: one declaration each, so that a flag reads the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.core.errors import InputError
from bench.core.printable import quoted
from bench.system import trust


def _inception(given: Path | None) -> Path | None:
    """Take the weights of Inception from a file or folder that the user names."""
    if given is not None:
        if not given.exists():
            raise InputError(f"--inception {given}: no such file or folder")
        os.environ["BENCH_INCEPTION"] = str(given)
    return given


def _backbones(given: Path | None) -> Path | None:
    """Take the networks below LPIPS and DISTS from where the user says."""
    if given is not None:
        if not given.is_dir():
            raise InputError(f"--backbones {given}: no such folder")
        os.environ["BENCH_BACKBONES"] = str(given)
    return given


Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the runs.")]
Cards = Annotated[
    Path | None,
    typer.Option("--cards", metavar="FILE", help="Card file [default: ./checkpoints.yaml]."),
]
Limits = Annotated[
    Path | None,
    typer.Option("--thresholds", metavar="FILE", help="TOML file, read after the shipped one."),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--checkpoints", metavar="GLOB,...", help="Names or methods [default: by preset]."
    ),
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="simulated, int8-x86 ... (repeatable) [default: simulated and this host's int8].",
    ),
]
Kernels = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile", help="Compile int8-x86 [default: where it saves time]."
    ),
]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Compile the network; CUDA graphs on a GPU.")
]
Words = Annotated[
    list[str] | None,
    typer.Option(
        "--scheme", metavar="SCHEME", help="w8a8, w4a8, w4a8+all, w~4.5a8 ... (repeatable)."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="METHOD",
        help="A method beside each scheme: bias, mse+gptq, python:FILE.py:FUNCTION (repeatable).",
    ),
]
WeightsFrom = Annotated[
    str | None,
    typer.Option(
        "--weights-from",
        metavar="FILE",
        help="Rounded or reconstructed weights of one checkpoint, measured beside its own.",
    ),
]
SuiteName = Annotated[
    str | None,
    typer.Option(
        "--suite", metavar="NAME", help="cifar10, lsun-tower, ffhq, fashion-mnist or a file."
    ),
]
Extractors = Annotated[
    str | None,
    typer.Option("--extractors", metavar="NAME,...", help="Features [default: efficientnet]."),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics", metavar="NAME,...", help="What is measured; +NAME beside the default."
    ),
]
Real = Annotated[
    str, typer.Option("--real", metavar="SPLIT", help="Real images: those of test or train.")
]
Bits = Annotated[
    int | None,
    typer.Option(
        "--bits", metavar="INT", help="Weight bits: 4 means w4a8; a run measures w4a8+gptq too."
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="FILE", help="Prompts of pipelines, one on each line."),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler", metavar="NAME", help="ddim, ddpm, heun or dpmpp-2m [default: ddim]."
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="NAME",
        help="Noise levels: trailing, leading, linspace, karras or exponential "
        "[default: trailing].",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any other field (repeatable)."),
]
Inception = Annotated[
    Path | None,
    typer.Option(
        "--inception",
        metavar="PATH",
        callback=_inception,
        help="Weights of Inception: their folder.",
    ),
]
Backbones = Annotated[
    Path | None,
    typer.Option(
        "--backbones",
        metavar="DIR",
        callback=_backbones,
        help="Folder of backbones of LPIPS and DISTS.",
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(
        "--precision",
        metavar="FLOAT",
        help="Sample each cell until the 95% interval of its change of FD is at most +- this; "
        "--images is then the most [default: 10 times the preset's].",
    ),
]
Decide = Annotated[
    bool,
    typer.Option(
        "--until-decided",
        help="Sample each cell until it is known whether it is worse by the margin; --images is "
        "then the most [default: 10 times the preset's].",
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="BASE",
        help="With --until-decided, a run or the word baseline [default: full precision].",
    ),
]
Margin = Annotated[
    str | None,
    typer.Option(
        "--margin",
        metavar="SIZE",
        help="With --until-decided, the least loss that matters: 0.5, or 3% of the distance in "
        "full precision [default: bench's thresholds].",
    ),
]
PresetName = Annotated[
    str, typer.Option("--preset", metavar="NAME", help="smoke, default or full.")
]
Images = Annotated[int | None, typer.Option("--images", metavar="N", help="Images per cell.")]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Sampling steps.")]
Seed = Annotated[int, typer.Option("--seed", metavar="INT", help="Random stream.")]
Batch = Annotated[int, typer.Option("--batch", metavar="N", help="Images per forward pass.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Take checkpoints, too, that denoise worse than no network."),
]


def _trusted(said: bool) -> bool:
    """Let the command that is parsed execute the code of cards, or not."""
    trust.allow(said)
    return said


TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        callback=_trusted,
        help="Execute the code of networks that cards name.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the cells and the estimate; run nothing.")
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, mps, or auto for the accelerator."),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What runs the cells: auto, local, processes:2, ray (bench list).",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Workers that share the cells and their images, with OMP_NUM_THREADS threads each, "
        "else one [default: by cores and memory].",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="HOST:PORT", help="With --engine ray, the cluster [default: auto]."
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Make share I of N of the images; the command without it then reports.",
    ),
]
Skip = Annotated[
    str | None,
    typer.Option(
        "--skip",
        metavar="GLOB,...",
        help="Layers left in float, as cells beside; from-probe: what bench probe suggested.",
    ),
]
Probes = Annotated[
    str | None,
    typer.Option("--probes", metavar="NAME,...", help="Explain it too: all, or which."),
]
Floor = Annotated[
    str,
    typer.Option(
        "--floor",
        metavar="NAME,...",
        help="Noise floor: bf16, batch, threads, layout; auto is bf16 where it costs a tenth of "
        "the run; or none.",
    ),
]
Redact = Annotated[
    bool, typer.Option("--redact", help="Without host name, users' names and folders.")
]


def settings(given: Mapping[str, object], sets: Sequence[str]) -> dict[str, str]:
    """Fields of a recipe as text, from the flags and from FIELD=VALUE words."""
    settings = {field: str(value) for field, value in given.items() if value is not None}
    for text in sets:
        field, separator, value = text.partition("=")
        if not separator:
            raise InputError(f"--set needs FIELD=VALUE, not {text!r}")
        settings[field] = value
    return settings


def listed(flag: str, text: str | None) -> list[str]:
    """The names of a flag with commas between them; none where the flag was not given.

    Raises:
        InputError: an empty name, as an unset variable of a shell leaves one.
    """
    names = [] if text is None else text.split(",")
    if not all(name.strip() for name in names):
        raise InputError(f"{flag} has an empty name in {quoted(text or '')}: leave the flag out")
    return names
