"""Runs probes over checkpoints: hands the stages to them, keeps each part, says what went wrong.

    card -> Subject -> probe -> parts of rows

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

from bench import store, tables
from bench.errors import InputError
from bench.explanation import Part, Row, part_from_json, part_to_json
from bench.host import code_hash
from bench.record import Host
from bench.spec import Checkpoint, content_key
from bench.stages import FEATURE_CODE, Stages
from bench.subjects import Plan, subject

if TYPE_CHECKING:
    from bench.probes.subject import Subject

# What all probes rest on; a probe's own module comes to it.
CODE = (
    *FEATURE_CODE,
    *("probes/subject.py", "probes/weights.py", "probes/perturbation.py", "subjects.py"),
    *("metrics", "training", "data", "stats.py", "protocols.py"),
)


class Prober:
    """Probes checkpoints on this machine.

    Args:
        host: fingerprint of this machine.
        cache: the cache folder.
        plan: what to do.
    """

    def __init__(self, host: Host, cache: Path, plan: Plan) -> None:
        self.host, self.cache, self.plan = host, cache, plan
        self.stages = Stages(host, cache, lambda stage, done: None)
        self.versions = {
            **host.versions,
            **host.arithmetic,
        }
        self._subject = functools.lru_cache(maxsize=1)(self._make)
        self._cards: dict[str, Checkpoint] = {}

    def count(self) -> int:
        """Parts of one checkpoint."""
        return sum(len(self.plan.parts(probe)) for probe in self.plan.probes)

    def run(self, card: Checkpoint) -> Iterator[Part]:
        """All parts of a checkpoint, each as soon as it is there."""
        self._cards[card.name] = card
        for probe in self.plan.probes:
            earlier: dict[str, list[Row]] = {}
            for part in self.plan.parts(probe):
                found = self._cached(card, probe, part) or self._compute(
                    card, probe, part, earlier
                )
                earlier[part] = list(found.rows)
                yield found

    def _path(self, card: Checkpoint, probe: str, part: str) -> Path:
        key = content_key(
            checkpoint=card.content(),
            dataset=card.dataset,
            probe=probe,
            part=part,
            setting=asdict(self.plan.setting),
            # A probe may look at all of them, as sensitivity does to choose one.
            schemes=[asdict(scheme) for scheme in self.plan.schemes],
            backend=self.plan.backend,
            draw=asdict(self.plan.draw),
            versions=self.versions | {"code": _code(probe)},
        )
        return self.cache / "probes" / f"{key}.json"

    def _cached(self, card: Checkpoint, probe: str, part: str) -> Part | None:
        try:
            found = part_from_json(self._path(card, probe, part).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        # The name of a checkpoint is not part of its content: the card's stands.
        return replace(found, **_names(card))

    def _compute(
        self, card: Checkpoint, probe: str, part: str, earlier: dict[str, list[Row]]
    ) -> Part:
        made = tables.lookup("probes", probe)()
        what = {"probe": probe, "version": made.version, "part": part}
        if reason := self._refusal(part):
            return Part(**_names(card), **what, status="refused", error=reason)
        start = time.monotonic()
        try:
            rows = made(self._subject(card.name), part, earlier)
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            reason = " ".join(f"{kind}{error}".split())[:500]
            return Part(**_names(card), **what, status="failed", error=reason)
        seconds = time.monotonic() - start
        found = Part(**_names(card), **what, status="ok", rows=tuple(rows), seconds=seconds)
        store.save_text(self._path(card, probe, part), part_to_json(found))
        return found

    def _refusal(self, part: str) -> str | None:
        """Why the backend cannot run the scheme that a part is about, or None."""
        for scheme in self.plan.schemes:
            if part.startswith(f"{scheme}:"):
                backend = tables.lookup("backends", self.plan.backend)()
                return backend.refuses(scheme, self.host)
        return None

    def _make(self, name: str) -> Subject:
        return subject(self.stages, self._cards[name], self.plan)


@functools.cache
def _code(probe: str) -> str:
    """Of what a probe of this package rests on; another package's has its `version`."""
    made = tables.lookup("probes", probe)
    package, _, rest = made.__module__.partition(".")
    own = (rest.replace(".", "/") + ".py",) if package == "bench" else ()
    return f"{made.version} {code_hash((*CODE, *own))}"


def _names(card: Checkpoint) -> dict[str, Any]:
    names = ("family", "method", "seed", "sha256")
    return {"checkpoint": card.name} | {name: getattr(card, name) for name in names}
