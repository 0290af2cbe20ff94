"""How long things take: stages one after the other, and rivals side by side.

Rivals alternate, so that a change of load hits all alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.system import devices

T = TypeVar("T")


class Stopwatch:
    """Wall time by stage.

    Attributes:
        seconds: of each stage since the start or the last `reset`.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def reset(self) -> None:
        """Begin anew; what was read before stays as it is."""
        self.seconds = {}

    def timed(self, stage: str, function: Callable[..., T], *arguments: object) -> T:
        """Call a function and count its time to a stage."""
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            passed = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + passed


def alternate(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    warm: int = 2,
    device: str = devices.CPU,
) -> dict[str, list[float]]:
    """Seconds of each function in each round.

    Args:
        functions: by name.
        rounds: at least 1.
        warm: rounds before, which are not counted.
        device: where the functions compute.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for k in range(-warm, rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            devices.wait(device)
            if k >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, base: str) -> float:
    """How many times faster `name` is than `base`, by the medians."""
    return statistics.median(seconds[base]) / statistics.median(seconds[name])
