"""What a command loads while its workers compute, in a process of its own."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    "change", ["sys.modules['matplotlib'] = None", "import os; os.environ['MPLBACKEND'] = 'none?'"]
)
def test_what_cannot_be_loaded_is_left_to_the_report(change):
    assert printed(change) == ("False", "")


def test_ctrl_c_does_not_reach_the_thread():
    blocked = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    change = f"publishing._load = lambda: exec({blocked!r})"
    told, errors = printed(change)
    assert "SIGINT" in told and errors == ""
