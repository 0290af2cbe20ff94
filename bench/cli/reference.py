"""`bench reference` and `bench fetch`: features of real images, and what bench does not ship."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Inception
from bench.core.errors import InputError
from bench.measurement.features import exchange


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
    if source and target:
        raise InputError("--from and --to exclude each other")
    if target:
        exchange.give(target, dataset, extractors, split)
    for extractor in [] if target else extractors:
        if source:
            exchange.take(source, dataset, extractor, split)
        else:
            exchange.make(dataset, extractor, split)


def fetch(
    what: Annotated[
        str,
        typer.Argument(metavar="NAME", help="inception, lpips, dists or fashion-mnist."),
    ] = "inception",
) -> None:
    """Download what bench does not ship into the cache: weights of networks, Fashion-MNIST."""
    exchange.fetch(what)
