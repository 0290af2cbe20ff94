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


def streams(target, count, seed):
    """A seeded stream of random numbers for each input."""
    for number in range(count):
        yield random.Random(f"{target.__name__} {seed} {number}")


def searched(read, target, count, seed):
    """Give a parser `count` inputs that hypothesis draws; a fault does not end it."""
    import hypothesis
    from hypothesis import strategies

    drawn = strategies.randoms(note_method_calls=False, use_true_random=False)
    left, turn = count, 0

    def counted(stream):
        nonlocal left
        read(stream)
        left -= 1

    while left > 0:
        settings = hypothesis.settings(
            max_examples=left,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        seeded = hypothesis.seed(f"{target.__name__} {seed} {turn}")
        before, turn = left, turn + 1
        # A parser that keeps what it read draws less the second time: on with another seed.
        with contextlib.suppress(hypothesis.errors.Flaky):
            seeded(settings(hypothesis.given(drawn)(counted)))()
        if left == before:
            break


def run(target, count, seed, search=False):
    """Give a parser `count` inputs; the same seed gives the same ones.

    Args:
        target: the parser.
        count: number of inputs.
        seed: of the streams that they are drawn from.
        search: let hypothesis draw them.

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
        number = 0

        def one(stream):
            nonlocal number
            number += 1
            signal.alarm(SECONDS)
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    read(stream)
                counts["read"] += 1
            except InputError as error:
                wrong = error.args and not str(error).strip()
                counts["an empty refusal" if wrong else "refused"] += 1
            except (Exception, Slow) as error:
                # hypothesis ends an input that draws too much by an error of its own.
                if type(error).__module__.startswith("hypothesis"):
                    raise
                frames = traceback.extract_tb(error.__traceback__)
                ours = [f for f in frames if "/bench/" in f.filename] or frames
                place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
                kind = f"{type(error).__name__} at {place}"
                counts[kind] += 1
                examples.setdefault(kind, (number - 1, str(error)[:300]))
            finally:
                signal.alarm(0)

        if search:
            searched(one, target, count, seed)
        else:
            for stream in streams(target, count, seed):
                one(stream)
    signal.signal(signal.SIGALRM, before)
    return counts, examples
