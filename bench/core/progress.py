"""How work that takes long tells where it is: as values, not by calls.

A step is a generator: it yields a `Progress` whenever there is something to tell, and returns its
result. `result = yield from step(...)` hands on what a step tells and gives what it returns;
`finished(step(...))` runs a step whose progress nobody wants to see. Whoever draws a bar reads the
values, so the work can as well go on in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
# The stage of a network that is loaded and quantized.
SAMPLING = "sampling"


@dataclass(frozen=True)
class Progress:
    """What is going on.

    Attributes:
        subject: whose work it is: a cell or a set of images, as text.
        stage: what is done to it: "sampling", "features", the name of a metric.
        batches: batches of images that were sampled since the last one.
    """

    subject: str
    stage: str
    batches: int = 0

    def __str__(self) -> str:
        return f"{self.subject}: {self.stage}"


@dataclass(frozen=True)
class Done:
    """A piece of work that ends without a record, as a batch of images.

    Attributes:
        work: what was to be done.
        seconds: wall time by stage.
        error: why it could not be done, one line; "" where it was.
        result: what came of it where that is not kept in the cache.
    """

    work: Any
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    result: Any = None


Steps = Generator[Progress, None, T]


def finished(steps: Steps[T], tell: Callable[[Progress], object] = lambda progress: None) -> T:
    """Run a step to its end; what it returns. `tell` is called with all that it tells."""
    try:
        while True:
            tell(next(steps))
    except StopIteration as end:
        result: T = end.value
        return result
