"""Runs probes over checkpoints: hands the stages to them, keeps each part, says what went wrong.

    card -> CheckpointContext -> probe -> parts of rows

A probe of a checkpoint is a task of an engine (`ProbeTask`), as none needs another one's rows.
A part is kept in the cache under a key of its content (weights, data, setting, scheme, code), so
an interrupted invocation goes on with the part that it was at; a change of one probe makes new
keys for its own parts only. A part that a backend refuses or that fails is a row with its reason
and stops no other.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import extensions
from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.core.probe_record import ProbePart, ProbeValue, part_from_json, part_to_json
from bench.core.progress import Done, Progress
from bench.core.record import Host
from bench.core.refusals import refusal
from bench.evaluation import keys
from bench.evaluation.generation import Generation
from bench.evaluation.probe_context import Plan, real_content
from bench.evaluation.resolved import images_of
from bench.evaluation.worker import check_machine
from bench.system import artifacts, disk, trust
from bench.system.host import fingerprint

if TYPE_CHECKING:
    from bench.evaluation.checkpoint_context import CheckpointContext


@dataclass(frozen=True)
class ProbeTask:
    """One probe of one checkpoint.

    Attributes:
        card: of the checkpoint.
        probe: name of the probe.
        memory: bytes that a worker takes for it, about.
    """

    card: Checkpoint
    probe: str
    memory: float = 0.0

    def __str__(self) -> str:
        return f"{self.card.name} {self.probe}"

    @property
    def group(self) -> str:
        """What its checkpoint's probes share: the network, and what is quantized of it."""
        return self.card.sha256


@dataclass(frozen=True)
class ProbeWorker:
    """Probes checkpoints on the machine where it is called.

    Attributes:
        plan: what is probed, and on which device.
        host: the machine that asks; only one of its arithmetic may answer.
        cache: the cache folder, which all workers share.
        trusts_code: whether the code that cards name may be executed.
    """

    plan: Plan
    host: Host
    cache: Path
    trusts_code: bool = field(default_factory=trust.allowed)

    @property
    def device(self) -> str:
        """Where networks are evaluated."""
        return self.plan.device

    def __call__(self, tasks: Iterable[ProbeTask]) -> Iterator[Progress | Done]:
        """Do one task after the other.

        Yields:
            `Progress` for each part that is there, then that the task is `Done`, with its parts.

        Raises:
            InputError: a machine that does not allow what is to be done, or one whose arithmetic
                is not that of the command's.
        """
        trust.allow(self.trusts_code)
        here = fingerprint(self.device)
        check_machine(self.host, here)
        prober = Prober(here, self.cache, self.plan)
        for task in tasks:
            found = []
            for part in prober.parts(task.card, task.probe):
                found.append(part)
                reason = f" ({part.error})" if part.error else ""
                yield Progress(f"{task}, {part.part}", f"{part.status}{reason}")
            yield Done(task, result=tuple(found))


def tasks(plan: Plan, cards: Sequence[Checkpoint]) -> list[ProbeTask]:
    """The probes of checkpoints, those of one after those of the other."""
    from bench.evaluation.engines.automatic import memory_for

    sizes = {card: memory_for(card, plan.draw.batch) for card in cards}
    return [ProbeTask(card, probe, sizes[card]) for card in cards for probe in plan.probes]


def outcomes(plan: Plan, done: Done) -> tuple[ProbePart, ...]:
    """The parts of a task that is done, or that was given up."""
    if not done.error:
        return tuple(done.result)
    task: ProbeTask = done.work
    version = extensions.lookup("probes", task.probe)().version
    what: dict[str, Any] = {"probe": task.probe, "version": version}
    what |= {"status": "failed", "error": done.error}
    return tuple(
        ProbePart(**_names(task.card), **what, part=part) for part in plan.parts(task.probe)
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
        self.generation = Generation(host.device)
        # For `folder:` data sets this hashes every image, and every part asks for it.
        self._real = functools.cache(real_content)
        self._context = functools.lru_cache(maxsize=1)(self._make)
        self._cards: dict[str, Checkpoint] = {}

    def run(self, card: Checkpoint) -> Iterator[ProbePart]:
        """All parts of a checkpoint, each as soon as it is there."""
        for probe in self.plan.probes:
            yield from self.parts(card, probe)

    def parts(self, card: Checkpoint, probe: str) -> Iterator[ProbePart]:
        """All parts of a probe of a checkpoint, each as soon as it is there."""
        self._cards[card.name] = card
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
