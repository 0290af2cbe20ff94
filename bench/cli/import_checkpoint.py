"""`bench import`: the card of a checkpoint that someone has."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Force, Sets, TrustCode, settings
from bench.core.errors import InputError
from bench.core.printable import quoted, say
from bench.evaluation import importing

Paths = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="Files, diffusers folders or hf:OWNER/NAME.")
]
Method = Annotated[
    str,
    typer.Option(
        "--method", metavar="NAME,...", help="baseline, ema, sam+ema ...; one for each PATH."
    ),
]


def import_checkpoint(
    paths: Paths,
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="What it was trained on.")
    ] = "",
    method: Method = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the card.")] = "",
    family: Annotated[
        str, typer.Option("--family", metavar="NAME", help="What it is compared within.")
    ] = "",
    revision: Annotated[
        str, typer.Option("--revision", metavar="COMMIT", help="Of a hub repository.")
    ] = "",
    network: Annotated[
        str,
        typer.Option(
            "--network",
            metavar="FILE.py:FUNCTION",
            help="What builds the network of the weights; or MODULE:FUNCTION.",
        ),
    ] = "",
    sets: Sets = None,
    trust_code: TrustCode = False,
    force: Force = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Card file [default: beside it].")
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add the card to a card file that is there.")
    ] = False,
) -> None:
    """Write the cards of checkpoints: read their networks, hash them, say what was assumed.

    Example: bench import ema_0.9999_500000.pt --dataset cifar10 --set sample_size=32
    """
    said = settings({}, sets or ())
    given = importing.Given(name, family, method, dataset, revision, said, force, network)
    importing.write_cards(_wanted(paths, given, out), out, append)


def _wanted(
    paths: list[str], given: importing.Given, out: Path | None
) -> list[tuple[str, importing.Given]]:
    """What is said of each checkpoint: several share their family, and may differ in method."""
    if len(paths) == 1:
        return [(paths[0], given)]
    if given.name:
        raise InputError("--name is for one PATH: several are named after their files")
    if not given.family:
        family = out.stem if out else Path(paths[0].rpartition("/")[2]).stem
        told = f"assumed: family {family} of all, so that they are compared (--family)"
        say(told, file=sys.stderr)
        given = replace(given, family=family)
    methods = _methods(given.method, len(paths))
    return [
        (path, replace(given, method=method)) for path, method in zip(paths, methods, strict=True)
    ]


def _methods(text: str, count: int) -> list[str]:
    """The method of each of several checkpoints: one word for all of them, or one for each."""
    words = text.split(",")
    if len(words) not in (1, count):
        raise InputError(f"--method {quoted(text)} names {len(words)} methods for {count} PATHs")
    return words * count if len(words) == 1 else words
