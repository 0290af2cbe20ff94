"""`bench run --shard I/N`: one of N commands makes its share of the images, and no report.

All commands share a cache folder (`BENCH_CACHE`), on a disk that all machines see. The same
command without `--shard` then finds the images and writes the one report; what a command that was
killed left out, it makes itself. N may be another one at every start.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.cli import execution, handing
from bench.core.errors import InputError
from bench.core.printable import quoted, say
from bench.core.progress import Done, Progress
from bench.evaluation.cost import sampling_cost
from bench.evaluation.planning import EvaluationPlan
from bench.system import host, store
from bench.system.host import fingerprint

if TYPE_CHECKING:
    from bench.evaluation.parts import Part

MOST = 100_000


def parsed(text: str | None) -> tuple[int, int] | None:
    """(number, count) of a command, from 1; None where there is no such flag.

    Raises:
        InputError: no such text; or the number of threads is left open, which decides the last
            bits of results and would be another one on every machine.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= MOST:
        raise InputError(f"--shard is I/N with I from 1 to N, as in 1/4, not {quoted(text)}")
    if host.given_threads() is None:
        raise InputError(
            "--shard: set OMP_NUM_THREADS, for instance to 1, to the same for all shards and for "
            "the command that writes the report: it is part of what is found in the cache"
        )
    return int(match[1]), int(match[2])


def run(plan: EvaluationPlan, shard: tuple[int, int], force: bool) -> bool:
    """Make one share of the images of a run and of their features.

    Returns:
        Whether a part of it failed.

    Args:
        plan: of the run.
        shard: number and count.
        force: whether checkpoints are taken that denoise worse than no network.

    Raises:
        InputError: as for `execution.run`.
    """
    from bench.evaluation import parts
    from bench.evaluation.resolved import Resolver
    from bench.system.progress import Bar

    execution.prepare(None)
    resolver, start = Resolver(fingerprint(plan.device), store.cache_root()), time.monotonic()
    errors: dict[str, str] = {}
    with Bar() as bar:
        resolved, checked = execution.examined(plan, plan.cells, resolver, force, bar)
        share = parts.shard(resolved, *shard)
        batches = Counter(part.cell for part in share)
        bar.start([(cell, count, sampling_cost(cell)) for cell, count in batches.items()])
        if share:
            with handing.told(plan, resolver, share) as events:
                for event in events:
                    checked.look()
                    if isinstance(event, Progress):
                        bar.advance(event)
                    elif isinstance(event, Done) and event.error:
                        errors[str(event.work.cell)] = event.error
        checked.fits()
    for name, reason in errors.items():
        say(f"{name}: failed: {reason}", file=sys.stderr)
    print(told(shard, share, time.monotonic() - start), file=sys.stderr)
    print(os.fspath(resolver.cache))
    return bool(errors)


def told(shard: tuple[int, int], share: Sequence[Part], seconds: float) -> str:
    """The line at the end: what is there of a share, number and count, and what comes next."""
    number, count = shard
    left = sum(part.is_missing() for part in share)
    others = f", {left} not: they failed, or another command is at them" if left else ""
    return (
        f"shard {number}/{count}: {len(share) - left} batches made{others}, {seconds:.0f} s; when "
        f"all are done, the same command without --shard reports"
    )
