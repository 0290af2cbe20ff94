"""`bench import`: the card of a checkpoint that someone has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Force, Sets, TrustCode, settings
from bench.core.errors import InputError
from bench.core.printable import quoted, say
from bench.evaluation import importing


def import_checkpoint(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files, diffusers folders or hf:OWNER/NAME."),
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="What it was trained on.")
    ] = "",
    method: Annotated[
        str,
        typer.Option(
            "--method", metavar="NAME,...", help="baseline, ema, sam+ema ...; one for each PATH."
        ),
    ] = "",
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
    said, methods = settings({}, sets or ()), [method] * len(paths)
    if len(paths) > 1:
        methods = _methods(method, len(paths)) if method else methods
        if name:
            raise InputError("--name is for one PATH: several are named after their files")
        if not family:
            family = out.stem if out else Path(paths[0].rpartition("/")[2]).stem
            say(
                f"assumed: family {family} of all, so that they are compared (--family)",
                file=sys.stderr,
            )
    wanted = [
        (path, importing.Given(name, family, each, dataset, revision, said, force, network))
        for path, each in zip(paths, methods, strict=True)
    ]
    importing.write_cards(wanted, out, append)


def _methods(text: str, count: int) -> list[str]:
    """The method of each of several checkpoints: one word for all of them, or one for each."""
    words = text.split(",")
    if len(words) not in (1, count):
        raise InputError(f"--method {quoted(text)} names {len(words)} methods for {count} PATHs")
    return words * count if len(words) == 1 else words
