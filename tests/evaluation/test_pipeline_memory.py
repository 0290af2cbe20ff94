"""The network of a pipeline is in memory once, quantized cells included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import pipeline_peaks

SCRIPT = Path(pipeline_peaks.__file__)


def peak(folder, backend):
    """Bytes that a process had at most that ran a cell."""
    # Freed memory goes back to the system at once, so that the peak is that of what is in use.
    paths = os.pathsep.join((str(SCRIPT.parents[1]), *sys.path))
    environment = {**os.environ, "PYTHONPATH": paths, "MALLOC_MMAP_THRESHOLD_": "65536"}
    words = [sys.executable, str(SCRIPT), str(folder), backend]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process, in kilobytes")
def test_a_quantized_cell_takes_no_second_copy_of_the_network(tmp_path):
    size = pipeline_peaks.saved(tmp_path)
    alone, replaced = peak(tmp_path, "float"), peak(tmp_path, "ao-int8")
    assert replaced - alone < size / 2
    # The one graph holds weights as codes and as they are executed, and nothing for longer.
    assert peak(tmp_path, "simulated") - alone < 1.5 * size
