"""The command `bench speed`, from flags to a table."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.flags import Bits, Cards, Device, TrustCode, Words, listed
from bench.cli.guiding import Guidance, drawn
from bench.core.cell import Checkpoint, Draw
from bench.core.errors import InputError, offer
from bench.core.printable import quoted, say
from bench.core.record import Host
from bench.evaluation import piped, planning
from bench.models.cards import card_file, first_seeds, load_cards, select, verify
from bench.quant.runtimes import RUNTIMES
from bench.report.formatting import escape, size, table
from bench.system import devices
from bench.system.host import fingerprint

if TYPE_CHECKING:
    from bench.evaluation.speed import Timing

FORMATS = ("markdown", "json")
# The method that is timed where none is named.
DEFAULT = "baseline"

Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="int8-x86, float-openvino, onnxruntime ... (repeatable) [default: simulated, int8].",
    ),
]


Chosen = Annotated[
    str | None,
    typer.Option(
        "--checkpoints",
        "--checkpoint",
        metavar="GLOB,...",
        help="Names or methods [default: baseline, or the only].",
    ),
]


def speed(
    bits: Bits = None,
    scheme: Words = None,
    backend: Backends = None,
    device: Device = devices.CPU,
    checkpoints: Chosen = None,
    batches: Annotated[
        str, typer.Option("--batches", metavar="N,...", help="Images per forward pass.")
    ] = "1,50",
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Sampling steps.")] = 20,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", help="Forward passes of each execution.")
    ] = 15,
    guidance: Guidance = None,
    cards: Cards = None,
    trust_code: TrustCode = False,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="markdown or json.")
    ] = "markdown",
) -> None:
    """Time a checkpoint in float32, bfloat16 and quantized; latency, images/s, memory.

    Example: bench speed --bits 8 --batches 1,16
    """
    if format not in FORMATS:
        raise InputError(f"unknown format {quoted(format)}: {offer(format[:100], FORMATS)}")
    if rounds < 2:
        raise InputError(f"--rounds must be at least 2, not {rounds}")
    wanted = planning.schemes(bits, scheme or ())
    place = devices.find(device)
    floats = [name for name in dict.fromkeys(backend or ()) if name in RUNTIMES]
    others = [name for name in backend or () if name not in RUNTIMES]
    backends = [] if floats and not others else planning.backends(others, wanted, place)
    kinds = [("fp32", name) for name in floats]
    kinds += [(str(s), name) for s in wanted if not s.is_float for name in backends]
    sizes = map(_count, batches.split(","))
    draws = [Draw(steps=steps, batch=size, **drawn(guidance, None)) for size in sizes]
    chosen = _cards(cards, listed("--checkpoints", checkpoints))
    from bench.evaluation.speed import measure

    timings: dict[str, list[Timing]] = {}
    for card in chosen:
        for draw in draws:
            say(f"{card.name}, batch {draw.batch}: {len(kinds) + 2} executions", file=sys.stderr)
            timings.setdefault(card.name, []).extend(measure(card, kinds, draw, rounds, place))
    host = fingerprint(place)
    if format == "json":
        print(_json(host, timings))
        return
    print("\n\n".join(_markdown(host, name, members) for name, members in timings.items()))


def _cards(cards: Path | None, names: list[str]) -> list[Checkpoint]:
    """The verified cards of names or methods; without one the baseline, or the only card."""
    known = load_cards(card_file(cards))
    wanted = select(known, names) if names else [c for c in known if c.method == DEFAULT]
    chosen = first_seeds(wanted or known)
    for card in chosen:
        piped.refuse(card, "bench speed")
    if names:
        return [verify(card) for card in chosen]
    if not chosen:
        raise InputError("no checkpoint to time: write a card with `bench import PATH`")
    if len(chosen) > 1:
        known_names = ", ".join(card.name for card in chosen)
        raise InputError(f"several checkpoints: {known_names}; name some by --checkpoints")
    return [verify(chosen[0])]


def _count(text: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise InputError(f"--batches takes counts like 1,50, not {text!r}")
    return int(text)


def _json(host: Host, timings: dict[str, list[Timing]]) -> str:
    lines = [
        {"checkpoint": name, **asdict(timing)}
        for name, members in timings.items()
        for timing in members
    ]
    return json.dumps({"host": asdict(host), "timings": lines}, indent=1)


def _markdown(host: Host, name: str, timings: list[Timing]) -> str:
    lines = [
        [
            escape(timing.execution),
            str(timing.batch),
            f"{timing.milliseconds:.1f} [{timing.low:.1f}, {timing.high:.1f}]",
            f"{timing.speedup:.2f}x",
            f"{timing.images_per_second:.2f}",
            size(timing.weights),
            size(timing.working) if timing.working else "unknown",
        ]
        for timing in timings
    ]
    header = ["Execution", "Batch", "Forward pass, ms", "Against float32", "Images/s"]
    header += ["Weights in memory", "Working memory"]
    legend = (
        f"{escape(name)} on {escape(host.name)}: {host.device}, {escape(host.isa)}, "
        f"{host.threads} threads. "
        f"Forward pass: median and quartiles. Images/s: of sampling, the whole loop. Times hold "
        f"for this machine and this run."
    )
    return "\n".join([*table(header, lines, left=1), "", legend])
