"""Cells run in this process, each resolved first, as a command and its worker do."""

from __future__ import annotations

from bench.core.progress import finished
from bench.evaluation import records
from bench.evaluation.pipeline import Pipeline
from bench.evaluation.resolved import Resolver
from bench.system.host import fingerprint


class Runs:
    """One command: a resolver and a pipeline of one cache.

    Args:
        cache: the cache folder.
        tell: called with each `Progress`.
        host: the machine, this one by default.
    """

    def __init__(self, cache, tell=lambda progress: None, host=None):
        host = host or fingerprint()
        self.resolver, self.pipeline, self.tell = (
            Resolver(host, cache),
            Pipeline(host, cache),
            tell,
        )

    def resolve(self, cell):
        """The cell with its keys and places."""
        return self.resolver.resolve(cell)

    def run(self, cell):
        """The record of a cell."""
        return finished(self.pipeline.run(self.resolve(cell)), self.tell)

    def images(self, cell):
        """The images of a cell, uint8 (N, C, H, W)."""
        return finished(
            self.pipeline.generation.images(self.resolve(cell).images), self.tell
        ).images

    def influences(self, cell):
        """The influences of a finished cell."""
        return records.influences_of(self.resolve(cell))

    def check(self, cells):
        """What is checked before a run."""
        self.pipeline.check(map(self.resolve, cells))
