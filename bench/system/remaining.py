"""How far work is that takes minutes and has no bar of its own: now and then a line on stderr."""

from __future__ import annotations

import sys
import time

# Seconds between two lines.
PAUSE = 20.0


class Remaining:
    """Tells the time that is left, from that of the work that is done.

    Args:
        what: names the work at the start of each line.
        total: of all work, in any unit.
    """

    def __init__(self, what: str, total: float) -> None:
        self.what, self.total = what, total
        self.done = self.free = 0.0
        self.start = self.told = time.monotonic()

    def skip(self, amount: float) -> None:
        """Count work that an earlier run did, so that it took no time now."""
        self.free += amount

    def advance(self, amount: float) -> None:
        """Count work that is done; a line where the last one was long ago."""
        self.done += amount
        now = time.monotonic()
        if now - self.told < PAUSE or not self.done:
            return
        self.told = now
        left = (now - self.start) * (self.total - self.free - self.done) / self.done
        share = (self.free + self.done) / self.total
        print(f"bench: {self.what}: {share:.0%}, {_words(left)} left", file=sys.stderr)


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
