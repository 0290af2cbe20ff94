"""`bench train`: train a recipe, go on where a killed run stopped, write weights and cards."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import exits, handing
from bench.cli.flags import Compiled, Device, Sets, settings
from bench.cli.handing import Tasks
from bench.core import yaml_files
from bench.core.errors import InputError
from bench.core.printable import quoted, say
from bench.core.progress import Done
from bench.evaluation.engines import automatic
from bench.system import devices, store
from bench.system.host import fingerprint

if TYPE_CHECKING:
    from bench.models.training.cards import Destination
    from bench.models.training.recipe import Recipe

# Trainings of one command.
MOST = 1000

Equal = Annotated[
    str | None,
    typer.Option("--equal", metavar="NAME", help="updates, or compute: sam does half of them."),
]


Rho = Annotated[float | None, typer.Option("--rho", metavar="FLOAT", help="Radius of sam.")]
Gamma = Annotated[
    float | None, typer.Option("--gamma", metavar="FLOAT", help="Input perturbation of ip.")
]
Precision = Annotated[
    str | None, typer.Option("--precision", metavar="NAME", help="float32 or bfloat16.")
]
Name = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Stem of the files [default: recipe].")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of weights and snapshot.")]
Dataset = Annotated[
    str,
    typer.Option(
        "--dataset", metavar="NAME", help="Other images, as folder:photos@32; sizes follow."
    ),
]
Batch = Annotated[int | None, typer.Option("--batch", metavar="N", help="Images per update.")]
Updates = Annotated[int | None, typer.Option("--updates", metavar="N", help="Optimizer steps.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="INT", help="Random stream.")]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="A..B", help="A training of each, as 3..7 or 1,5,9."),
]
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
    gamma: Gamma = None,
    updates: Updates = None,
    batch: Batch = None,
    equal: Equal = None,
    seed: Seed = None,
    seeds: Seeds = None,
    engine: Tasks = automatic.LOCAL,
    precision: Precision = None,
    sets: Sets = None,
    name: Name = "",
    device: Device = "auto",
    compiled: Compiled = False,
    dry_run: DryRun = False,
    out: Out = Path("runs"),
) -> int:
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
    if seeds is not None:
        return _several(wanted, destination, _listed(seeds, seed), engine, dry_run)
    if engine != automatic.LOCAL:
        raise InputError(f"--engine {quoted(engine)} shares out several trainings: name --seeds")
    if dry_run:
        print("\n".join(cards.planned(wanted, destination)))
    else:
        cards.run(wanted, destination)
    return exits.FINE


def _listed(text: str, seed: int | None) -> list[int]:
    """The seeds that a flag names.

    Raises:
        InputError: no such list, one that names a seed twice, or --seed beside it.
    """
    if seed is not None:
        raise InputError("--seed and --seeds: say one of them")
    named: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:\.\.([0-9]{1,9}))?", part)
        last = int(match[2] or match[1]) if match else -1
        if not match or not 0 <= last - int(match[1]) < MOST:
            raise InputError(f"--seeds takes seeds as in 3..7 or 1,5,9, not {quoted(text)}")
        named += range(int(match[1]), last + 1)
    if len(named) > MOST or len(set(named)) < len(named):
        raise InputError(f"--seeds takes up to {MOST} seeds, each once: {quoted(text)}")
    return named


def _several(
    recipe: Recipe, destination: Destination, seeds: Sequence[int], engine: str, dry_run: bool
) -> int:
    """Train several seeds by an engine and print their cards; the exit code."""
    from bench.evaluation import trainings
    from bench.models.training import cards

    place = devices.find(destination.device)
    wanted = trainings.tasks(recipe, destination, seeds)
    engine = handing.for_tasks(engine, place)
    if dry_run:
        for task in wanted:
            print("\n".join(cards.planned(task.recipe, task.destination)))
        return exits.FINE
    store.check_writable(destination.out)
    worker = trainings.TrainingWorker(place, fingerprint(place), store.cache_root())
    done: dict[str, Done] = {}
    with handing.events(engine, worker, wanted) as events:
        for event in events:
            line = str(event)
            if isinstance(event, Done):
                done[str(event.work)] = event
                line = f"{event.work}: {event.error or 'trained'}"
            say(line, file=sys.stderr)
    return _told([done[str(task)] for task in wanted])


def _told(outcomes: Sequence[Done]) -> int:
    """Print the cards of several trainings as one file of cards; the exit code.

    Raises:
        InputError: nothing was trained, or on a machine whose files are not here.
    """
    from bench.models.training import cards

    trained = [done for done in outcomes if not done.error]
    if not trained:
        raise InputError(f"nothing was trained: {outcomes[0].error}")
    for done in trained:
        path = cards.card_path(done.work.recipe, done.work.destination)
        if not path.is_file():
            raise InputError(
                f"{path} was written on another machine: name a folder by --out that all of them "
                f"see"
            )
    texts = [yaml_files.parse(done.result, str(done.work))["checkpoints"] for done in trained]
    print(yaml_files.dump({"checkpoints": [card for one in texts for card in one]}), end="")
    return exits.FAILED if len(trained) < len(outcomes) else exits.FINE
