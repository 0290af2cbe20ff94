"""Engine `ray`: workers on the machines of a Ray cluster (`pip install ray`).

    ray, ray:auto    the cluster that runs on this machine, or that RAY_ADDRESS names
    ray:HOST:PORT    that cluster
    ray:local        one that is started for this run, of this machine alone
    ray:auto,8       at most eight workers

Each worker is an actor that keeps its network between pieces of work, and asks for as many CPUs as
it has threads, for a GPU where networks are evaluated on one, and for the memory that its network
takes. `bench.evaluation.engines.crew` hands out, and `schedule` says who does what, as for
processes of one machine: the same images to the bit, and the same records. Whatever a dead actor
or machine was at is done by another one; as many workers are started anew as the cluster has room
for.

Images, features and calibrations go by the cache alone, so all machines see one (`BENCH_CACHE` on
a shared disk, or `BENCH_MIRROR`), and they have the same bench. Both are checked when a worker
starts, before it gets work.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.evaluation.engines import cluster_worker, crew, ray_connection
from bench.evaluation.engines.crew import Gone, Item, Told
from bench.system import artifacts, devices, disk
from bench.system.host import threads

if TYPE_CHECKING:
    from bench.core.protocols import Work

ARGUMENT = re.compile(r"(auto|local|[A-Za-z0-9_.\-\[\]:]+:[0-9]{1,5})?(?:,([1-9][0-9]{0,4}))?")
# Seconds after which it is looked again for what joined or left, and after which it is told that
# nothing has room; how many workers may die at their start, one after the other.
LOOK, TOLD, DEATHS = 5.0, 60.0, 5


def run(worker: Work, cells: Sequence[Item], argument: str = "") -> Iterator[Told]:
    """Yield what the worker tells of the cells, as it comes.

    Args:
        worker: to run in every actor.
        cells: to run, or parts of them to make, or tasks; none to check the argument alone.
        argument: "ADDRESS", "ADDRESS,MOST" or ",MOST": of the cluster, "" for the one that runs
            here, and the number of workers, as many as have room where it is left out.

    Raises:
        InputError: bad argument, no Ray, no such cluster, no room in it for one worker, a machine
            that does not see the cache or has another bench, or as for the worker.
    """
    match = ARGUMENT.fullmatch(argument)
    if not match:
        raise InputError(
            f"engine ray takes the address of a cluster, as in ray:auto, ray:local or "
            f"ray:HOST:PORT, and after a comma a number of workers, not {quoted(argument)}"
        )
    if find_spec("ray") is None:
        raise InputError("engine ray needs Ray: pip install 'diffusion-quant-bench[ray]'")
    if not cells:
        return
    with ray_connection.connected(match[1] or "auto") as ray, _token(worker) as token:
        most = int(match[2] or sys.maxsize)
        yield from crew.told(cells, _Actors(ray, worker, _request(worker, cells), token, most))


@contextlib.contextmanager
def _token(worker: Work) -> Iterator[cluster_worker.Token]:
    """A file in the cache by which a worker sees that it has the same cache."""
    cache = Path(getattr(worker, "cache", os.curdir))
    # A name by which the next command knows whether this one still lives.
    path = cache / "tokens" / disk.unfinished_name()
    text = secrets.token_hex(16)
    artifacts.save_text(path, artifacts.bound(path), text)
    try:
        yield cluster_worker.Token(Path.cwd(), path, text, cluster_worker.code())
    finally:
        artifacts.remove(path)


def _request(worker: Work, cells: Sequence[Item]) -> dict[str, float]:
    """What a worker needs of a machine, as Ray names it: CPUs, GPUs and bytes of memory."""
    from bench.evaluation.engines import automatic

    device = getattr(worker, "device", devices.CPU)
    if ":" in device:
        raise InputError(f"engine ray gives each worker a GPU: say --device cuda, not {device}")
    memory = automatic.memory_of_items(cells)
    gpu = {} if device == devices.CPU else {"GPU": 1.0}
    return {"CPU": float(threads()), "memory": float(int(memory)), **gpu}


class _Actors:
    """The workers of this engine.

    Args:
        ray: the library, connected.
        worker: that they run.
        request: what each needs of its machine.
        token: by which they check the machine.
        most: how many there may be.
    """

    def __init__(
        self,
        ray: Any,
        worker: Work,
        request: dict[str, float],
        token: cluster_worker.Token,
        most: int,
    ) -> None:
        self.ray, self.request, self.most = ray, request, most
        self.make = _maker(ray, request, worker, token)
        self.actors: dict[int, Any] = {}
        # Actors that are not ready, by what says that they are; what those at work tell.
        self.starting: dict[Any, int] = {}
        self.telling: dict[int, Any] = {}
        self.deaths, self.room, self.looked = 0, 0, -LOOK
        self.since, self.began = time.monotonic(), False

    def free(self, busy: Collection[int], waiting: int) -> list[int]:
        """Those that are ready and have no work; others are started meanwhile."""
        self._check_started()
        count = min(self._room(), self.most, len(busy) + waiting)
        for who in range(count):
            if who not in self.actors:
                self.began = True
                self.actors[who] = self.make()
                self.starting[self.actors[who].ready.remote()] = who
        near = set(self.actors) - set(self.starting.values())
        return sorted(near.difference(busy))

    def _room(self) -> int:
        """How many workers the living machines have room for, by all that they have."""
        if time.monotonic() - self.looked < LOOK:
            return self.room
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        each = [[node.get(k, 0.0) // v for k, v in self.request.items()] for node in nodes]
        self.room, self.looked = int(sum(min(row) for row in each)), time.monotonic()
        if not self.room and not self.began:
            needs = ", ".join(f"{name} {value:g}" for name, value in self.request.items())
            raise InputError(
                f"no machine of the Ray cluster has room for a worker, which asks for {needs}: "
                f"add one, or lower OMP_NUM_THREADS or --batch"
            )
        return self.room

    def _check_started(self) -> None:
        """Take in who is ready.

        Raises:
            InputError: a machine is not fit for work, or workers die at their start.
        """
        if not self.starting:
            return
        ready, _ = self.ray.wait([*self.starting], num_returns=len(self.starting), timeout=0)
        for reference in ready:
            who = self.starting.pop(reference)
            try:
                fault = self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                self._bury(who)
                self.deaths += 1
                if self.deaths >= DEATHS:
                    raise InputError(f"workers die at their start: {_reason(error)}") from None
                continue
            if fault:
                raise InputError(fault)
            self.deaths = 0

    def give(self, who: int, item: Item) -> None:
        """Hand over a piece of work."""
        self.telling[who] = self.actors[who].do.options(num_returns="streaming").remote(item)

    def heard(self, busy: Collection[int]) -> Iterator[tuple[int, Told | Gone]]:
        """What comes next; nothing where somebody became ready, or after a while."""
        slots = {self.telling[who]: who for who in busy}
        ready, _ = self.ray.wait([*slots, *self.starting], num_returns=1, timeout=LOOK)
        if ready or busy:
            self.since = time.monotonic()
        elif time.monotonic() - self.since > TOLD:
            self.since = time.monotonic()
            print("bench: the Ray cluster has no room yet: waiting for it", file=sys.stderr)
        for generator in ready:
            if generator in slots:
                said = self._next(slots[generator])
                if isinstance(said, str):
                    print(said, file=sys.stderr)
                else:
                    yield slots[generator], said

    def _next(self, who: int) -> Told | Gone | str:
        try:
            told = self.ray.get(next(self.telling[who]))
        except (self.ray.exceptions.RayError, StopIteration) as error:
            self._bury(who)
            return Gone(f"its worker in the Ray cluster ended: {_reason(error)}")
        if isinstance(told, InputError):
            raise told
        return told

    def _bury(self, who: int) -> None:
        """Leave an actor that has died, or is of no use."""
        self.telling.pop(who, None)
        self.ray.kill(self.actors.pop(who))
        self.looked = -LOOK

    def stop(self) -> None:
        """End them all."""
        for who in [*self.actors]:
            with contextlib.suppress(Exception):
                self._bury(who)


def _maker(ray: Any, request: dict[str, float], worker: Work, token: cluster_worker.Token) -> Any:
    """What starts an actor."""
    options = {
        "num_cpus": request["CPU"],
        "num_gpus": request.get("GPU", 0.0),
        "memory": request["memory"],
        "max_restarts": 0,
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": cluster_worker.environment(token)},
    }
    actor = ray.remote(cluster_worker.ClusterWorker).options(**options)
    given = ray.put((worker, token))
    return lambda: actor.remote(given)


def _reason(error: BaseException) -> str:
    """An error of Ray in words, less its numbers of actors, nodes and addresses."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    whole = [line for line in lines if line.startswith("The ")]
    told = " ".join(whole) if whole else lines[-1] if lines else ""
    return f"{type(error).__name__.split('(')[0]}: {short(told, 300)}"
