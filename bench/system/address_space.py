"""The address space that a process may have (`ulimit -v`), held against what its libraries need.

With too little of it OpenBLAS ends the process itself while NumPy is loaded, with exit code 1,
which means a regression here; with a little more its threads wait for ever. Neither can be caught,
so it is asked for before anything is loaded.
"""

from __future__ import annotations

from bench.core.errors import InputError

# KiB, as `ulimit -v` counts. With less than about half of it NumPy cannot be loaded; torch takes
# several times as much, and says itself what it lacks.
LEAST = 512 << 10


def check() -> None:
    """Make sure that the limit, where there is one, lets the libraries be loaded.

    Raises:
        InputError: it does not.
    """
    try:
        import resource
    # Windows has no such limits.
    except ImportError:
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit >> 10 < LEAST:
        raise InputError(
            f"not enough memory: this process may have {limit >> 10} KiB of address space "
            f"(ulimit -v), and bench needs {LEAST} to start and some gigabytes for a run: raise "
            f"the limit"
        )
