"""The lines that tell how far long work is."""

import pytest

from bench.system import remaining
from bench.system.remaining import Remaining


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(remaining.time, "monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then_with_the_time_that_is_left(clock, capsys):
    work = Remaining("adaround", 100)
    # Done by an earlier run: it took no time in this one.
    work.skip(50)
    clock[0] += 10
    work.advance(10)
    assert capsys.readouterr().err == ""
    clock[0] += 20
    work.advance(10)
    assert capsys.readouterr().err == "bench: adaround: 70%, 45 s left\n"
    clock[0] += 5
    work.advance(10)
    assert capsys.readouterr().err == ""
    clock[0] += 565
    work.advance(10)
    assert capsys.readouterr().err == "bench: adaround: 90%, 2 min left\n"
