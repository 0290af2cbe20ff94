"""Runs probes over checkpoints: hands the stages to them, keeps each part, says what went wrong.

    card -> CheckpointContext -> probe -> parts of rows

A part is kept in the cache under a key of its content (weights, data, setting, scheme, code), so
an interrupted invocation goes on with the part that it was at; a change of one probe makes new
keys for its own parts only. A part that a backend refuses or that fails is a row with its reason
and stops no other.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import extensions
from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.core.probe_record import ProbePart, ProbeValue, part_from_json, part_to_json
from bench.core.record import Host
from bench.core.refusals import refusal
from bench.evaluation import keys
from bench.evaluation.generation import Generation
from bench.evaluation.probe_context import Plan, real_content
from bench.evaluation.resolved import images_of
from bench.system import artifacts, disk

if TYPE_CHECKING:
    from bench.evaluation.checkpoint_context import CheckpointContext


class Prober:
    """Probes checkpoints on this machine.

    Args:
        host: fingerprint of this machine.
        cache: the cache folder.
        plan: what to do.
    """

    def __init__(self, host: Host, cache: Path, plan: Plan) -> None:
        self.host, self.cache, self.plan = host, cache, plan
        self.generation = Generation(host.device)
        # For `folder:` data sets this hashes every image, and every part asks for it.
        self._real = functools.cache(real_content)
        self._context = functools.lru_cache(maxsize=1)(self._make)
        self._cards: dict[str, Checkpoint] = {}

    def count(self) -> int:
        """Parts of one checkpoint."""
        return sum(len(self.plan.parts(probe)) for probe in self.plan.probes)

    def run(self, card: Checkpoint) -> Iterator[ProbePart]:
        """All parts of a checkpoint, each as soon as it is there."""
        self._cards[card.name] = card
        for probe in self.plan.probes:
            earlier: dict[str, list[ProbeValue]] = {}
            for part in self.plan.parts(probe):
                kept = self._cached(card, probe, part)
                outcome = kept or self._compute(card, probe, part, earlier)
                earlier[part] = list(outcome.rows)
                yield outcome

    def _path(self, card: Checkpoint, probe: str, part: str) -> Path:
        wanted = {
            "part": part,
            "setting": asdict(self.plan.setting),
            # A probe may look at all of them, as sensitivity does to choose one.
            "schemes": [asdict(scheme) for scheme in self.plan.schemes],
            "backend": self.plan.backend,
            "draw": asdict(self.plan.draw),
            "real": self._real(card.dataset),
        }
        key = keys.of_probe(card, probe, wanted, self.host)
        return self.cache / "probes" / f"{key}.json"

    def _cached(self, card: Checkpoint, probe: str, part: str) -> ProbePart | None:
        path = self._path(card, probe, part)
        text = artifacts.load_text(path, path.name)
        if text is None:
            return None
        # The name of a checkpoint is not part of its content: the card's stands.
        return replace(part_from_json(text), **_names(card))

    def _compute(
        self, card: Checkpoint, probe: str, part: str, earlier: dict[str, list[ProbeValue]]
    ) -> ProbePart:
        made = extensions.lookup("probes", probe)()
        what: dict[str, Any] = {"probe": probe, "version": made.version, "part": part}
        if reason := self._refusal(part):
            return ProbePart(**_names(card), **what, status="refused", error=reason)
        start = time.monotonic()
        try:
            rows = made(self._context(card.name), part, earlier)
        except Exception as error:
            if stop := disk.stops(error):
                raise stop from error
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            reason = " ".join(f"{kind}{error}".split())[:500]
            return ProbePart(**_names(card), **what, status="failed", error=reason)
        seconds = time.monotonic() - start
        outcome = ProbePart(**_names(card), **what, status="ok", rows=tuple(rows), seconds=seconds)
        path = self._path(card, probe, part)
        artifacts.save_text(path, path.name, part_to_json(outcome))
        return outcome

    def _refusal(self, part: str) -> str | None:
        """Why the backend cannot run the scheme that a part is about, or None."""
        for scheme in self.plan.schemes:
            if part.startswith(f"{scheme}:"):
                return refusal(self.plan.backend, scheme, self.host)
        return None

    def _make(self, name: str) -> CheckpointContext:
        from bench.evaluation.checkpoint_context import CheckpointContext

        locate = functools.partial(images_of, host=self.host, cache=self.cache)
        return CheckpointContext(self.generation, locate, self._cards[name], self.plan)


def _names(card: Checkpoint) -> dict[str, Any]:
    names = ("family", "method", "seed", "sha256")
    return {"checkpoint": card.name} | {name: getattr(card, name) for name in names}
