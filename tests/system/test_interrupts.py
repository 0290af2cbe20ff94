"""Processes that a command starts end at a Ctrl-C without a word; the command tells it."""

import signal
import subprocess
import sys
import time

import pytest

from bench.system import interrupts

SLOW = """
import sys; sys.path[:] = sys.argv[1:]
import time; print("started", flush=True); time.sleep(0.5)
from bench.system.interrupts import end_at_once
end_at_once(); print("never", flush=True); time.sleep(9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be held back there")
def test_a_signal_while_a_process_imports_ends_it_without_a_traceback():
    words = [sys.executable, "-c", SLOW, *sys.path]
    with interrupts.held_back():
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"started\n"
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert (output, error, process.returncode) == (b"", b"", -signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be held back there")
def test_a_signal_in_the_block_comes_after_it():
    seen = []
    with pytest.raises(KeyboardInterrupt):
        with interrupts.held_back():
            signal.raise_signal(signal.SIGINT)
            time.sleep(0)
            seen.append("the block ends")
        seen.append("too late")
    assert seen == ["the block ends"]
