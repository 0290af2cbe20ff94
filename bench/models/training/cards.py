"""`bench train`: run a recipe with a progress bar and write weights, cards and provenance."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from torch import Tensor

import bench
from bench.core import extensions, yaml_files
from bench.core.errors import InputError
from bench.models import card_datasets
from bench.models.training.loop import Trainer, train, updates
from bench.models.training.recipe import Recipe
from bench.system import devices, store
from bench.system.checkout import git_state
from bench.system.host import fingerprint

# Reading the loss makes the CPU wait for the GPU, so it is read only now and then.
SHOW_EVERY = 20
# Updates between two lines where there is no bar.
LINE_EVERY = 100
# Updates by which an estimate goes.
TIMED = 3


@dataclass(frozen=True)
class Destination:
    """The device of a run, and the folder and name of its files.

    Attributes:
        out: folder of weights, cards and snapshot.
        name: stem of the files, "" for that of the recipe and seed.
        device: "auto", "cpu", "cuda", "mps" ...
        compiled: whether the network is compiled.
    """

    out: Path
    name: str = ""
    device: str = "auto"
    compiled: bool = False


def run(recipe: Recipe, destination: Destination) -> None:
    """Train to the end, from the snapshot in the folder where there is one; print the cards.

    Raises:
        InputError: an unwritable folder, an unknown device, a missing data set, a foreign
            snapshot, or a run that diverged.
    """
    name = stem(recipe, destination)
    store.check_writable(destination.out)
    trainer = _trainer(recipe, destination)
    _train_with_bar(trainer, _snapshot(recipe, destination))
    print(write_cards(trainer, name, destination.out), end="")


def told(recipe: Recipe, destination: Destination) -> Generator[str, None, str]:
    """As `run`, for a program that draws for itself: yields a line now and then, and returns the
    cards as text.

    Raises:
        InputError: as for `run`.
    """
    store.check_writable(destination.out)
    trainer = _trainer(recipe, destination)
    yield _summary(trainer)
    pace = _Pace(recipe)
    steps = updates(trainer, _snapshot(recipe, destination), _provenance(trainer))
    for done, loss in steps:
        pace.begin(done)
        if pace.is_told(done):
            yield pace.text(done, loss)
    return write_cards(trainer, stem(recipe, destination), destination.out)


def planned(recipe: Recipe, destination: Destination) -> list[str]:
    """What `run` would train and write, and how long it takes by the time of a few updates.

    Raises:
        InputError: as for `run`; nothing is written in any case.
    """
    name, snapshot = stem(recipe, destination), _snapshot(recipe, destination)
    trainer = _trainer(recipe, destination)
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        float(trainer.step())
        seconds.append(time.perf_counter() - start)
    minutes = recipe.steps * min(seconds) / 60
    begun = "goes on from" if snapshot.is_file() else "will be kept in"
    kinds = (method_name(recipe.method, average) for average in trainer.averages.weights())
    return [
        _summary(trainer),
        f"estimated time: {minutes:.1f} minutes for all updates, by the fastest of {TIMED}",
        f"state: {begun} {snapshot}",
        f"cards: {', '.join(f'{name}-{kind}' for kind in kinds)}, in {destination.out}",
    ]


def stem(recipe: Recipe, destination: Destination) -> str:
    """The stem of the files of a run.

    Raises:
        InputError: the name is none of a file.
    """
    name = destination.name or recipe.name + (f"-seed{recipe.seed}" if recipe.seed else "")
    if Path(name).name != name or len(name) > 200:
        raise InputError(f"--name must be the stem of a file, not {name!r}")
    return name


def card_path(recipe: Recipe, destination: Destination) -> Path:
    """The file of the cards of a run."""
    return destination.out / f"{stem(recipe, destination)}-{_method(recipe)}.yaml"


def _method(recipe: Recipe) -> str:
    """The method as a part of names of files."""
    return recipe.method.replace("+", "-")


def _snapshot(recipe: Recipe, destination: Destination) -> Path:
    return destination.out / f"{stem(recipe, destination)}-{_method(recipe)}.snapshot.pt"


def _trainer(recipe: Recipe, destination: Destination) -> Trainer:
    images = extensions.lookup("datasets", recipe.dataset)("train")
    return Trainer(recipe, images, devices.find(destination.device), destination.compiled)


def _summary(trainer: Trainer) -> str:
    recipe, size = trainer.recipe, sum(p.numel() for p in trainer.parameters)
    plural = "gradient" if recipe.gradients == 1 else "gradients"
    return (
        f"{recipe.method}: {recipe.steps} updates of {recipe.batch} images, {recipe.gradients} "
        f"{plural} each; {size / 1e6:.2f} M parameters on "
        f"{trainer.device}, {recipe.precision}"
    )


def _train_with_bar(trainer: Trainer, snapshot: Path) -> None:
    console = Console(stderr=True)
    print(_summary(trainer), file=sys.stderr)
    columns = (BarColumn(24), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        report = _reporter(trainer, progress, console.is_terminal)
        train(trainer, snapshot, report, _provenance(trainer))


class _Pace:
    """How fast updates go, from the first one that is done here.

    Args:
        recipe: of the run.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.start, self.first = recipe, time.perf_counter(), 0

    def begin(self, done: int) -> None:
        """Note an update."""
        self.first = self.first or done

    def is_told(self, done: int) -> bool:
        """Whether it is one of those that have a line: every 100th, and the last."""
        return done % LINE_EVERY == 0 or done == self.recipe.steps

    def text(self, done: int, loss: Tensor) -> str:
        """Updates, loss and images a second."""
        seconds = time.perf_counter() - self.start
        rate = (done - self.first + 1) * self.recipe.batch / seconds
        return f"{done}/{self.recipe.steps}  loss {float(loss):.4f}  {rate:.0f} images/s"


def _reporter(
    trainer: Trainer, progress: Progress, terminal: bool
) -> Callable[[int, Tensor], None]:
    """A function that shows progress after updates: a bar on a terminal, or a line every 100."""
    recipe, pace = trainer.recipe, _Pace(trainer.recipe)
    task = progress.add_task("", total=recipe.steps)

    def report(done: int, loss: Tensor) -> None:
        pace.begin(done)
        if done % SHOW_EVERY and done != recipe.steps:
            return
        text = pace.text(done, loss)
        progress.update(task, completed=done, description=f"{text}  left")
        if not terminal and pace.is_told(done):
            print(text, file=sys.stderr, flush=True)

    return report


def _provenance(trainer: Trainer) -> dict[str, Any]:
    """The origin of weights besides the recipe: code, machine, versions."""
    commit, dirty = git_state(Path(bench.__file__).parent)
    host = fingerprint()
    return {
        "bench": bench.__version__,
        "commit": commit,
        "dirty": dirty,
        "device": str(trainer.device),
        "compiled": trainer.network is not trainer.model,
        "isa": host.isa,
        "threads": host.threads,
        "versions": dict(host.versions),
    }


def write_cards(trainer: Trainer, name: str, out: Path) -> str:
    """Write each kind of weights as safetensors, with NAME-METHOD.yaml; return the cards as text.

    Beside them NAME-METHOD.made.yaml says exactly how they were made: the recipe, and the code and
    machine of each part of the run.
    """
    recipe, cards = trainer.recipe, []
    for average, weights in trainer.averages.weights().items():
        method = method_name(recipe.method, average)
        path = out / f"{name}-{method.replace('+', '-').replace('@', '-')}.safetensors"
        with store.atomic(path) as temporary:
            temporary.write_bytes(save({k: v.contiguous() for k, v in weights.items()}))
        cards.append(_card(recipe, f"{name}-{method}", method, path))
    made = {"recipe": recipe.to_dict(), "made_by": trainer.made}
    text = yaml_files.dump({"checkpoints": cards})
    own = f"{name}-{_method(recipe)}"
    store.save_text(out / f"{own}.yaml", text)
    store.save_text(out / f"{own}.made.yaml", yaml_files.dump(made))
    return text


def method_name(method: str, average: str) -> str:
    """Name of a row of the comparison: the method and the average, each alone by its own name."""
    if average == "raw":
        return method
    return average if method == "baseline" else f"{method}+{average}"


def _card(recipe: Recipe, name: str, method: str, path: Path) -> dict[str, Any]:
    return {
        "name": name,
        "family": recipe.name,
        "method": method,
        "seed": recipe.seed,
        "source": "safetensors",
        "uri": path.name,
        "sha256": store.sha256(path),
        "dataset": card_datasets.from_card(path, recipe.dataset),
        "license": "Apache-2.0",
        "config": {
            "shape": list(recipe.shape),
            "schedule": recipe.schedule,
            "timesteps": recipe.timesteps,
            "predicts": recipe.predicts,
            "learns_variance": recipe.learns_variance,
            "network": recipe.to_dict()["network"],
        },
    }
