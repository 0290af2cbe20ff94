"""`bench train`: train a recipe, go on where a killed run stopped, write weights and cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import Compiled, Device, Sets, settings

Equal = Annotated[
    str | None,
    typer.Option("--equal", metavar="NAME", help="updates, or compute: sam does half of them."),
]


Rho = Annotated[float | None, typer.Option("--rho", metavar="FLOAT", help="Radius of sam.")]
Dataset = Annotated[
    str,
    typer.Option(
        "--dataset", metavar="NAME", help="Other images, as folder:photos@32; sizes follow."
    ),
]
Batch = Annotated[int | None, typer.Option("--batch", metavar="N", help="Images per update.")]
Updates = Annotated[int | None, typer.Option("--updates", metavar="N", help="Optimizer steps.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="INT", help="Random stream.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print what would be trained and how long; train nothing."),
]


def train(
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME", help="What to train (see bench list).")
    ] = "fashion-unet",
    dataset: Dataset = "",
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME", help="baseline, ip, sam or ip+sam.")
    ] = None,
    rho: Rho = None,
    gamma: Annotated[
        float | None, typer.Option("--gamma", metavar="FLOAT", help="Input perturbation of ip.")
    ] = None,
    updates: Updates = None,
    batch: Batch = None,
    equal: Equal = None,
    seed: Seed = None,
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="NAME", help="float32 or bfloat16.")
    ] = None,
    sets: Sets = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Stem of the files [default: recipe].")
    ] = "",
    device: Device = "auto",
    compiled: Compiled = False,
    dry_run: DryRun = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of weights and snapshot.")
    ] = Path("runs"),
) -> None:
    """Train a recipe by one of the methods; go on where a killed run stopped.

    One run writes raw, EMA and SWA weights and a card for each. Example:
    bench train --method sam --rho 0.05
    """
    given = {"method": method, "rho": rho, "gamma": gamma, "updates": updates, "batch": batch}
    given |= {"equal": equal, "seed": seed, "precision": precision}
    from bench.core import extensions
    from bench.models.training import cards, recipes

    destination = cards.Destination(out, name, device, compiled)
    wanted = recipes.find(recipe)
    if dataset:
        shape = extensions.lookup("datasets", dataset)("train").shape
        wanted = wanted.fitted(dataset, shape[1:])
    wanted = wanted.changed(settings(given, sets or ()))
    if dry_run:
        print("\n".join(cards.planned(wanted, destination)))
    else:
        cards.run(wanted, destination)
