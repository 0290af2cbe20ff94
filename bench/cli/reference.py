"""The commands of checkpoints and real images: import, reference, fetch; and flags of several."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Force, Inception, Sets
from bench.core.errors import InputError
from bench.evaluation import importing
from bench.measurement.features import exchange


def settings(given: Mapping[str, object], sets: Sequence[str]) -> dict[str, str]:
    """Fields of a recipe as text, from the flags and from FIELD=VALUE words."""
    settings = {field: str(value) for field, value in given.items() if value is not None}
    for text in sets:
        field, found, value = text.partition("=")
        if not found:
            raise InputError(f"--set needs FIELD=VALUE, not {text!r}")
        settings[field] = value
    return settings


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
    sets: Sets = None,
    force: Force = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Card file [default: beside it].")
    ] = None,
) -> None:
    """Write the card of a checkpoint: read its network, hash it, say what was assumed.

    Example: bench import ema_0.9999_500000.pt --dataset cifar10 --set sample_size=32
    """
    given = importing.Given(
        name, family, method, dataset, revision, settings({}, sets or ()), force
    )
    importing.write_card(path, given, out)


def reference(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Whose images are real.")],
    extractors: Annotated[
        list[str], typer.Argument(metavar="EXTRACTOR...", help="efficientnet, inception ...")
    ],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="test or train.")] = "test",
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="NPZ", help="Take statistics of another tool instead."),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--to", metavar="NPZ", help="Write statistics for another tool."),
    ] = None,
    inception: Inception = None,
) -> None:
    """Make the features of real images, or take or write their statistics.

    Statistics are files of clean-fid, pytorch-fid or ADM. Example:
    bench reference cifar10 inception --split train
    """
    name_inception(inception)
    if source and target:
        raise InputError("--from and --to exclude each other")
    if target:
        exchange.give(target, dataset, extractors, split)
    for extractor in [] if target else extractors:
        if source:
            exchange.take(source, dataset, extractor, split)
        else:
            exchange.make(dataset, extractor, split)


def name_inception(given: Path | None) -> None:
    if given is None:
        return
    if not given.exists():
        raise InputError(f"--inception {given}: no such file or folder")
    os.environ["BENCH_INCEPTION"] = str(given)


def fetch(
    what: Annotated[
        str, typer.Argument(metavar="NAME", help="inception or fashion-mnist.")
    ] = "inception",
) -> None:
    """Download what bench does not ship into the cache: weights of Inception, Fashion-MNIST."""
    exchange.fetch(what)
