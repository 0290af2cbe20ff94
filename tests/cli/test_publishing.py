"""What a command loads while its workers compute, in a process of its own."""

import subprocess
import sys

BESIDE = """
import sys, threading
from bench.cli import publishing
from bench.report.figures import drawing, grid
assert "matplotlib" not in sys.modules
{change}
publishing.load_beside()
[thread.join() for thread in threading.enumerate() if thread.daemon]
print(all(name in sys.modules for name in publishing.DRAWING))
"""


def printed(change=""):
    words = [sys.executable, "-c", BESIDE.format(change=change)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


def test_what_draws_figures_is_loaded_beside():
    assert printed() == ("True", "")


def test_what_cannot_be_loaded_is_left_to_the_report():
    assert printed("sys.modules['matplotlib'] = None") == ("False", "")
