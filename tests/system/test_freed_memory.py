"""Freed memory is kept by a process of our own: what it allocates next causes no page faults."""

import subprocess
import sys

import pytest

# Allocates, touches and frees four times 8 MiB, a hundred times: how many pages were new?
BLOCKS = """
import ctypes, resource
from bench.system import freed_memory
{keep}
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [library.malloc(8 << 20) for _ in range(4)]
    for block in blocks:
        library.memset(block, 1, 8 << 20)
    for block in blocks:
        library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: str) -> int:
    words = [sys.executable, "-c", BLOCKS.format(keep=keep)]
    # What a user's surroundings say of the allocator is none of this test's.
    return int(subprocess.run(words, capture_output=True, check=True, env={}).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
def test_blocks_that_were_freed_are_used_again():
    pages = 4 * (8 << 20) // 4096
    assert faults("assert freed_memory.keep()") < 1.5 * pages
    assert faults("") > 2 * pages
