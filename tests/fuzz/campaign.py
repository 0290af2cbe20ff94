"""A campaign: so many damaged inputs to one parser, and what became of them."""

from __future__ import annotations

import contextlib
import io
import random
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

from bench.core.errors import InputError

SECONDS = 20


class Slow(BaseException):
    """An input took longer than any small file may."""


def run(target, count, seed):
    """Give a parser `count` inputs; the same seed gives the same ones.

    Returns:
        Counts of "read", "refused" and of each kind of fault, and an example of each fault: the
        number of the input and the end of the traceback.
    """
    counts, examples = Counter(), {}

    def late(signal_number, frame):
        raise Slow

    before = signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = target(Path(folder))
        for number in range(count):
            stream = random.Random(f"{target.__name__} {seed} {number}")
            signal.alarm(SECONDS)
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    read(stream)
                counts["read"] += 1
            except InputError as error:
                wrong = error.args and not str(error).strip()
                counts["an empty refusal" if wrong else "refused"] += 1
            except (Exception, Slow) as error:
                frames = traceback.extract_tb(error.__traceback__)
                ours = [f for f in frames if "/bench/" in f.filename] or frames
                place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
                kind = f"{type(error).__name__} at {place}"
                counts[kind] += 1
                examples.setdefault(kind, (number, str(error)[:300]))
            finally:
                signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    return counts, examples
