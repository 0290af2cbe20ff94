"""The three streams of a command, whatever they are: closed, full, a broken pipe, ASCII only.

Names and paths of a user hold any character, and a terminal takes some of them only: what it does
not take is written escaped, as Python does on stderr. A closed stream is replaced by nothing, so
that no file that is opened later gets its number and is written into by a library.
"""

from __future__ import annotations

import contextlib
import os
import sys

SHOW_CURSOR = b"\x1b[?25h"


def prepare() -> None:
    """Make stdin, stdout and stderr usable."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given, which is this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(line: str) -> None:
    """Write a line to stderr; where nobody can read it, nothing happens."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def unwritten() -> OSError | None:
    """Why stdout does not take what was printed, or None; afterwards it is thrown away."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            sys.stdout.flush()
        return error
    except ValueError:
        return None
    return None


def say_at_once(line: str) -> None:
    """Write a line from within a signal handler, past all buffers, and give back the cursor that
    a progress bar hid."""
    with contextlib.suppress(OSError):
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + line.encode() + b"\n")
