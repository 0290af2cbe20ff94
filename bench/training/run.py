"""`bench train`: run a recipe with a progress bar and write weights, cards and provenance."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file

from bench import store
from bench.data import fashion_mnist
from bench.errors import InputError
from bench.host import fingerprint, git_state
from bench.training.loop import Trainer, train
from bench.training.recipe import SMALL_NETWORK, Recipe

FAMILY = "fashion-small"


def run(name: str, out: Path, *, rho: float, updates: int, batch: int, seed: int) -> None:
    """Train to the end, from the snapshot in `out` where there is one.

    Raises:
        InputError: a size out of range, an unwritable folder, or a snapshot of another recipe.
    """
    if updates < 1 or batch < 1 or rho < 0:
        raise InputError("updates and batch must be at least 1, rho at least 0")
    if not name or Path(name).name != name:
        raise InputError(f"--name must be the stem of a file, not {name!r}")
    store.check_writable(out)
    recipe = Recipe(name=name, rho=rho, updates=updates, batch=batch, seed=seed)
    images = fashion_mnist.load("train")
    snapshot = out / f"{name}-{recipe.rule}.snapshot.pt"
    trainer = _train_with_bar(recipe, images, snapshot)
    print(write_cards(trainer, out), end="")


def _train_with_bar(recipe: Recipe, images: torch.Tensor, snapshot: Path) -> Trainer:
    console = Console(stderr=True)
    columns = (BarColumn(24), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=recipe.updates)
        start, first = time.perf_counter(), 0

        def report(done: int, loss: float) -> None:
            nonlocal first
            first = first or done
            rate = (done - first + 1) * recipe.batch / (time.perf_counter() - start)
            text = f"{done}/{recipe.updates}  loss {loss:.4f}  {rate:.0f} images/s  left"
            progress.update(task, completed=done, description=text)
            if not console.is_terminal and done % 100 == 0:
                print(text.removesuffix("  left"), file=sys.stderr, flush=True)

        try:
            return train(recipe, images, snapshot, report)
        except ValueError as error:
            raise InputError(f"{error}; choose another --name or delete it") from None


def write_cards(trainer: Trainer, out: Path) -> str:
    """Write the three weights as safetensors with NAME-RULE.yaml; return the cards as text."""
    recipe, cards = trainer.recipe, []
    commit, dirty = git_state(Path.cwd())
    for average, weights in trainer.weights().items():
        method = _method(recipe, average)
        name = f"{recipe.name}-{method}"
        path = out / f"{name.replace('+', '-')}.safetensors"
        with store.atomic(path) as temporary:
            save_file({k: v.contiguous() for k, v in weights.items()}, temporary)
        cards.append(_card(name, method, path))
    made = {"recipe": recipe.to_dict(), "commit": commit, "dirty": dirty}
    made |= {"host": fingerprint().isa, "versions": dict(fingerprint().versions)}
    text = yaml.safe_dump({"checkpoints": cards}, sort_keys=False)
    stem = f"{recipe.name}-{recipe.rule}"
    store.save_text(out / f"{stem}.yaml", text)
    store.save_text(out / f"{stem}.made.yaml", yaml.safe_dump(made, sort_keys=False))
    return text


def _method(recipe: Recipe, average: str) -> str:
    """Name of a method: the update rule and the average, a plain average by its own name."""
    if average == "raw":
        return recipe.rule
    return average if recipe.rule == "baseline" else f"{recipe.rule}+{average}"


def _card(name: str, method: str, path: Path) -> dict[str, Any]:
    return {
        "name": name,
        "family": FAMILY,
        "method": method,
        "source": "safetensors",
        "uri": path.name,
        "sha256": store.sha256(path),
        "dataset": "fashion-mnist",
        "license": "Apache-2.0",
        "config": {
            "shape": [1, 28, 28],
            "schedule": "cosine",
            "timesteps": 1000,
            "predicts": "epsilon",
            "network": SMALL_NETWORK,
        },
    }
