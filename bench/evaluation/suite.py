"""`bench run --suite NAME|PATH`: a fixed protocol, so that runs of different people compare.

A suite is a YAML file that fixes the data set, the real images, extractors, metrics, sampler,
steps and the number of images. Each number of steps is a run of its own. The figures that a paper
reports stand on the cards of the run, beside what is measured here, and enter no arithmetic.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.core import border, extensions, yaml_files
from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.evaluation import planning
from bench.models.cards import card_file, load_cards, select

FOLDER = Path(__file__).parent / "suites"
LISTS = ("extractors", "metrics", "steps")
# The field of the reported figures that says where they are from; what is compared of a word.
SOURCE, GLANCE = "source", 100


@dataclass(frozen=True)
class Suite:
    """A protocol.

    Attributes:
        dataset: whose cards are run.
        real: split of the real images.
        extractors, metrics: names.
        sampler, spacing: of the draw.
        steps: numbers of steps, a run for each.
        images: N.
        reported: published figures by method, and their source.
    """

    dataset: str
    real: str
    extractors: tuple[str, ...]
    metrics: tuple[str, ...]
    sampler: str
    spacing: str
    steps: tuple[int, ...]
    images: int
    reported: Mapping[str, Any] = field(default_factory=dict)


def find(name: str) -> Suite:
    """The suite of a name or file.

    Raises:
        InputError: there is none, or it is incomplete.
    """
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    path = FOLDER / f"{name}.yaml" if name in known else Path(name)
    if not border.exists(path):
        near = difflib.get_close_matches(name[:GLANCE], known)
        offer = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}, or a file"
        raise InputError(f"unknown suite {quoted(name)}: {offer}")
    return _checked(path, yaml_files.read(path))


def _checked(path: Path, data: Any) -> Suite:
    if not isinstance(data, dict):
        raise InputError(f"{path}: a suite is a mapping of fields")
    names = [f.name for f in fields(Suite)]
    for name in (*data, *names):
        if name not in names:
            raise InputError(f"{path}, field {name}: unknown; known are {', '.join(names)}")
        if name not in data and name != "reported":
            raise InputError(f"{path}, field {name}: missing")
    for name in names:
        kind = {"images": int, "reported": dict}.get(name, list if name in LISTS else str)
        if not isinstance(data.get(name, {}), kind) or (kind is list and not data[name]):
            raise InputError(f"{path}, field {name}: must be a {kind.__name__}, with content")
    try:
        suite = border.build(Suite, data)
        for table in ("extractors", "metrics"):
            for name in data[table]:
                extensions.require(table, name)
        extensions.require("datasets", suite.dataset)
        extensions.require("samplers", suite.sampler)
        for steps in suite.steps:
            Draw(suite.sampler, steps, suite.images, spacing=suite.spacing)
        _check_reported(suite.reported)
    except (ValueError, InputError) as error:
        raise InputError(f"{path}: {error}") from None
    return suite


def _check_reported(reported: Mapping[str, Any]) -> None:
    for method, figures in reported.items():
        if method == SOURCE and isinstance(figures, str):
            continue
        numbers = figures.values() if isinstance(figures, dict) else (None,)
        if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers):
            raise ValueError(f"reported, {short(method)}: must be figures by name")


def plan(
    suite: Suite,
    cards: Path | None,
    globs: Sequence[str],
    choices: planning.Choices,
    changes: Mapping[str, Any],
) -> list[list[Cell]]:
    """The cells of each run of a suite, every input checked.

    Args:
        suite: the protocol.
        cards: the card file.
        globs: names or methods of checkpoints; all of the data set where there are none.
        choices: schemes and backends.
        changes: fields of the draw that differ from the suite's; `steps` is one number.

    Raises:
        InputError: no card of the data set, or as for `planning.plan`.
    """
    path = card_file(cards)
    fitting = [c for c in load_cards(path) if c.dataset == suite.dataset]
    if not fitting:
        raise InputError(
            f"{path} has no card of data set {suite.dataset}: write one with `bench import`"
        )
    chosen = select(fitting, globs) if globs else fitting
    size = planning.Preset(suite.images, 0, (), repetitions=True)
    scoring = {"extractors": suite.extractors, "metrics": suite.metrics, "real": suite.real}
    runs = []
    for steps in (changes["steps"],) if "steps" in changes else suite.steps:
        fixed = {"sampler": suite.sampler, "spacing": suite.spacing, "images": suite.images}
        drawn: dict[str, Any] = {**fixed, **changes, "steps": steps}
        named = choices.named | {"sampler", "spacing"}
        scored = dataclasses.replace(choices, scoring=scoring, named=named)
        cells = planning.plan(path, [c.name for c in chosen], size, scored, Draw(**drawn))
        runs.append([_reported(cell, suite) for cell in cells])
    return runs


def _reported(cell: Cell, suite: Suite) -> Cell:
    """The cell with the figures that its method has in the paper."""
    method = cell.checkpoint.method
    figures = suite.reported.get(method, {}) if method != SOURCE else {}
    reported = {**cell.checkpoint.reported, **{f"FID, {k}": v for k, v in figures.items()}}
    card = dataclasses.replace(cell.checkpoint, reported=reported)
    return dataclasses.replace(cell, checkpoint=card)
