"""What becomes of memory that a process has freed: it keeps it, for what it allocates next.

The C library of Linux gives large blocks back to the system at once, and asks for them anew with
the next layer's output; the system then clears each page before its first use. A network
allocates and frees megabytes for every operator, so clearing takes a tenth of the time of a pass
in float, and more than that where most operators are elementwise. Results are the same to the bit.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

# Names and numbers of `man 3 mallopt`; the largest threshold that it takes is 32 MiB.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
LARGEST, KEPT, MORE = 32 << 20, 1 << 30, 64 << 20


def keep() -> bool:
    """Let this process keep up to a GiB of freed memory, and blocks of up to 32 MiB with it.

    For processes of our own alone: a library must not decide that for the program that calls it.

    Returns:
        Whether the C library took it: one without `mallopt` goes on as it was.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        choose = ctypes.CDLL(None).mallopt
        wanted = ((MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, KEPT), (TOP_PAD, MORE))
        return all(choose(name, value) == 1 for name, value in wanted)
    return False
