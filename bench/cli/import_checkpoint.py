"""`bench import`: the card of a checkpoint that someone has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Force, Sets, TrustCode, settings
from bench.evaluation import importing


def import_checkpoint(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="File, diffusers folder or hf:OWNER/NAME.")
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="What it was trained on.")
    ] = "",
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="baseline, ema, sam+ema ...")
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
    """Write the card of a checkpoint: read its network, hash it, say what was assumed.

    Example: bench import ema_0.9999_500000.pt --dataset cifar10 --set sample_size=32
    """
    said = settings({}, sets or ())
    given = importing.Given(name, family, method, dataset, revision, said, force, network)
    importing.write_card(path, given, out, append)
