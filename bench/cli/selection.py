"""Which cells a run has: cards, choices, draw and scoring of the flags, by a preset or a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.cli import stopping
from bench.cli.flags import listed
from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.evaluation import planning, sequential, suite


@dataclass(frozen=True)
class Scored:
    """How cells are scored: names, none for the default ones, and the split of real images."""

    extractors: Sequence[str]
    metrics: Sequence[str]
    real: str

    @classmethod
    def of(cls, extractors: str | None, metrics: str | None, real: str) -> Scored:
        """From the words of flags."""
        return cls(listed("--extractors", extractors), listed("--metrics", metrics), real)


@dataclass(frozen=True)
class Selection:
    """The cells that are asked for.

    Attributes:
        cards: file of the cards, None for the default one.
        names: of the checkpoints, or methods, as the user wrote them.
        choices: what is done to each checkpoint.
        given: fields of the draw, None where the user did not set them.
    """

    cards: Path | None
    names: str | None
    choices: planning.Choices
    given: Mapping[str, Any]

    @property
    def globs(self) -> list[str]:
        """Names or methods of the checkpoints."""
        return listed("--checkpoints", self.names)

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of the draw that the user set."""
        return planning.without_none(self.given)

    @property
    def named(self) -> planning.Choices:
        """The choices, with the fields of the draw that the user set."""
        return replace(self.choices, named=frozenset(self.changes))

    def runs(
        self,
        suite_name: str | None,
        preset: str,
        scored: Scored,
        asked: stopping.Asked,
        prompts: Path | None = None,
    ) -> list[list[Cell]]:
        """The cells of each run: of a suite where one is named, else of the preset; `prompts` is
        the file of the prompts of pipelines."""
        given = replace(self, choices=replace(self.choices, prompts=prompts))
        if suite_name is not None:
            return given.of_suite(suite_name, scored, preset)
        return [given.of_preset(preset, scored, asked.is_sequential)]

    def of_preset(self, name: str, scored: Scored, is_sequential: bool) -> list[Cell]:
        """The cells of a run of a preset's sizes."""
        scoring = planning.scoring(scored.extractors, scored.metrics, scored.real)
        size = planning.preset(name)
        most = sequential.TIMES * size.images if is_sequential else size.images
        drawn: dict[str, Any] = {"steps": size.steps, "images": most, **self.changes}
        choices = replace(self.named, scoring=scoring)
        return planning.plan(self.cards, self.globs, size, choices, Draw(**drawn))

    def of_suite(self, name: str, scored: Scored, preset: str) -> list[list[Cell]]:
        """The cells of each run of a suite.

        Raises:
            InputError: the user asks for something that the suite fixes.
        """
        if scored != Scored([], [], "test") or preset != "default":
            raise InputError("--suite fixes extractors, metrics, real images and preset")
        asked = suite.find(name)
        return suite.plan(asked, self.cards, self.globs, self.named, self.changes)
