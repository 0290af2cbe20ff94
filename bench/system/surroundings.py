"""What errors of the machine mean: one table of numbers, of words of libraries and of advice.

A full disk, a lost permission, too few open files and too little memory are no fault of bench, and
no outcome of a cell: a command ends with one line that says what to do (`bench.cli.exits`), and a
run stops (`bench.system.disk.stops`).
"""

from __future__ import annotations

import errno

_FULL = "make room, or set --out, BENCH_CACHE or TMPDIR to another disk"
_FILES = "raise the number of files that a process may open (`ulimit -n 4096`)"
_DENIED = "give the permission, or set --out or BENCH_CACHE to another folder"
_LOOK = "look after the disk, or set --out or BENCH_CACHE to another one"
_PATH = "check the path"
# For any other error of a file that is written or read.
ELSEWHERE = "set --out or BENCH_CACHE to another folder"


def _numbers(*names: str) -> list[int]:
    """Numbers of the errors that this system has."""
    return [getattr(errno, name) for name in names if hasattr(errno, name)]


# The disk itself fails, or is gone.
BROKEN = _numbers("EIO", "ESTALE", "ENODEV", "ENXIO")
# Errors that stop a run, whatever it was doing.
STOPS = {
    **dict.fromkeys(_numbers("ENOSPC", "EDQUOT"), _FULL),
    **dict.fromkeys(_numbers("EMFILE", "ENFILE"), _FILES),
    **dict.fromkeys(_numbers("EACCES", "EPERM", "EROFS"), _DENIED),
    **dict.fromkeys(BROKEN, _LOOK),
}
# These and errors of a path that the user named.
ADVICE = {
    **STOPS,
    errno.ENOENT: "is it still there?",
    **dict.fromkeys(_numbers("EFBIG", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG"), _PATH),
    **dict.fromkeys(_numbers("ELOOP"), _PATH),
}
# How libraries word a lack of memory, beside MemoryError.
_NO_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "failed to map segment",
    "start new thread",
    "bad_alloc",
    "insufficient memory",
    "Resource temporarily unavailable",
)


def no_memory(error: BaseException) -> str:
    """The line of an error that is a lack of memory; "" for every other one."""
    text = " ".join(str(error).split())
    short = isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)
    if not short and not (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return ""
    # Some libraries wrap the reason in a page of advice.
    reason = text if 0 < len(text) < 120 else type(error).__name__
    return (
        f"not enough memory ({reason}): lower --batch, close other programs, or raise the limit "
        f"(ulimit -v)"
    )


def of_system(error: BaseException) -> str:
    """The line of an error of the system about its state or a path; "" for every other one."""
    if not isinstance(error, OSError) or error.errno not in ADVICE:
        return ""
    what = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or " ".join(str(error).split())
    return f"{what}{reason}; {ADVICE[error.errno]}"
