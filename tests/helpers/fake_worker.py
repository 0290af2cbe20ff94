"""Stands in for `bench.evaluation.worker.Worker` in other processes: it computes nothing."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.core.progress import Done, Progress
from bench.core.record import Record
from bench.evaluation.parts import Part
from bench.system.disk import MachineError


@dataclass(frozen=True)
class FakeWorker:
    """Notes in a file which process was at which work, and does what the cell's skip list says.

    Attributes:
        log: the file; a line is "process; work". A file beside it notes that "once" was killed.
    """

    log: Path

    def __call__(self, cells):
        for wanted in cells:
            with self.log.open("a") as stream:
                stream.write(f"{os.getpid()}; {wanted}\n")
            yield Progress(str(wanted), "sampling", 1)
            for word in wanted.cell.scheme.skip:
                if word == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                once = self.log.with_name("once")
                if word == "once" and not once.exists():
                    once.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                if word == "refused":
                    raise InputError("no such file")
                if word == "full":
                    raise MachineError("no room")
                if word == "asleep":
                    time.sleep(600)
            if isinstance(wanted, Part):
                yield Done(wanted, {"load": 1e-9, "sample": 1.0})
            else:
                yield Record(wanted.cell, wanted.host, "ok", None, (), dict(wanted.spent))
