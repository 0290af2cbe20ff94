"""Ctrl-C, a terminal that is closed and `kill`: the command ends and says how to go on.

The first signal raises `KeyboardInterrupt`, so that temporary files go and processes end. Where a
library swallows it, or the end takes long, the second one ends the process there and then: what
is written appears whole or not at all, so nothing is lost by it.

Python runs a handler only between two of its own steps, and a C library that runs out of memory
while it is loaded may never come back to one. Until the command starts there is nothing to tidy
up, so `kill` and a closed terminal keep the system's own action, which ends the process wherever
it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from bench.system import terminal

LINE = "bench: interrupted; repeat the command to go on"
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
# Before the command starts: Python itself has a handler for Ctrl-C.
EARLY = (signal.SIGINT,)
_received: list[int] = []


def install(numbers: Sequence[int] = SIGNALS) -> None:
    """Take the signals that are not ignored, as they are of a job in the background."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in numbers:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _handle)
    sys.unraisablehook = _unraisable


def begin() -> None:
    """Forget what came before, and take Ctrl-C: the rest is taken when the command starts."""
    _received.clear()
    install(EARLY)


def code() -> int:
    """128 and the number of the signal that came; 0 where none did."""
    return 128 + _received[0] if _received else 0


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Start processes in the block: a Ctrl-C meanwhile reaches this one after it, and them once
    they call `end_at_once`, so that none of them tells of it from the middle of an import."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, EARLY)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)


def end_at_once() -> None:
    """In a process that another one started: a Ctrl-C, which reaches all of a terminal, ends it
    without a word, as the other one tells it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, EARLY)


def _handle(number: int, frame: FrameType | None) -> None:
    if _received:
        terminal.say_at_once(LINE)
        os._exit(code())
    _received.append(number)
    raise KeyboardInterrupt


def _unraisable(what: Any) -> None:
    """Drop the report of an interrupt inside a destructor: the command tells it once."""
    if not (_received and issubclass(what.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(what)
