"""How a command ends: its exit code, and one line on stderr for whatever stopped it.

    0    fine
    1    regression (compare, history)
    2    bad usage or input, or surroundings that do not allow it: nothing is lost or half-written
    3    inconclusive where that was asked for
    4    the run finished and its report is written, but a cell failed
    70   an internal error of bench: an exception that nobody foresaw
    130  interrupted (143 by SIGTERM); the same command goes on

A traceback is written to a file of the cache, and printed where `bench --traceback` or
BENCH_TRACEBACK=1 asks for it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from bench.core import printable
from bench.core.errors import InputError
from bench.system import interrupts, surroundings, terminal

FINE, REGRESSION, USAGE, INCONCLUSIVE, FAILED, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130
# Exit code of a process that writes where nobody reads any more: 128 plus SIGPIPE's number.
BROKEN_PIPE = 141
HELP = (
    "Exit codes: 0 fine; 2 bad usage or input, or nothing of what was asked for could be "
    "measured; 4 the report is written, but a cell failed; 70 internal error; 130 interrupted."
)
HELP_COMPARE = (
    "Exit codes: 0 nothing is worse; 1 regression; 2 bad usage or input; 3 inconclusive, with "
    "--fail-on inconclusive; 70 internal error."
)
VARIABLE = "BENCH_TRACEBACK"
# No path that a system takes is as long.
LONG = re.compile(r"(\S{200})\S{4000,}")


def ended(command: Callable[[], int | None]) -> int:
    """Run a command; its exit code, after whatever it wanted to say was said."""
    terminal.prepare()
    interrupts.begin()
    try:
        code = command() or FINE
        # The parser turns an interrupt into a code and says nothing.
        if interrupts.code():
            return _interrupted()
        broken = terminal.unwritten()
        return code if broken is None else _unwritten(broken)
    # Nothing may escape: a traceback is what nobody can act on.
    except BaseException as error:
        return _told(error)


def _told(error: BaseException) -> int:
    """Say in one line what went wrong; return the exit code."""
    if isinstance(error, SystemExit):
        # The parser ends a broken pipe with 1, which means a regression here.
        if isinstance(error.__context__, BrokenPipeError):
            return BROKEN_PIPE
        # No line of bench ends the process: a library that does so did not answer the question.
        return _internal(error)
    if interrupts.code() or isinstance(error, KeyboardInterrupt) or _name(error) == "Abort":
        return _interrupted()
    if os.environ.get(VARIABLE):
        terminal.say("".join(traceback.format_exception(error)).rstrip())
    if (broken := terminal.unwritten()) is not None:
        return _unwritten(broken)
    # Usage errors of the parser; Typer ships its own copy of Click, so their class is private.
    if (message := getattr(error, "format_message", None)) is not None:
        if _name(error) == "NoArgsIsHelpError":
            terminal.say(message())
            return USAGE
        return _say(message())
    if isinstance(error, InputError):
        return _say(str(error))
    if line := surroundings.of_system(error) or surroundings.no_memory(error):
        return _say(line)
    return _internal(error)


def _interrupted() -> int:
    terminal.say(interrupts.LINE)
    return interrupts.code() or INTERRUPTED


def _unwritten(broken: OSError) -> int:
    if isinstance(broken, BrokenPipeError):
        return BROKEN_PIPE
    return _say(f"cannot write to the standard output: {broken.strerror}")


def _internal(error: BaseException) -> int:
    reason = f"{_name(error)}: {' '.join(str(error).split())}"[:300]
    written = _write_traceback(error)
    place = f"the traceback is in {written}" if written else "no traceback could be written"
    words = sys.argv[1:] if "--traceback" in sys.argv[1:2] else ["--traceback", *sys.argv[1:]]
    _say(
        f"internal error ({reason}); {place}; please report it. To see the traceback: "
        f"{VARIABLE}=1, or {shlex.join(['bench', *words])}"
    )
    return INTERNAL


def _write_traceback(error: BaseException) -> Path | None:
    """A file of the cache with the traceback, else one of the folder for temporary files."""
    import tempfile

    from bench.system.store import cache_root

    text = f"bench {' '.join(sys.argv[1:])}\n" + "".join(traceback.format_exception(error))
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    for folder in (lambda: cache_root() / "errors", lambda: Path(tempfile.gettempdir())):
        try:
            target = folder() / f"bench-{name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("x", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            return target
        except (OSError, InputError):
            continue
    return None


def _say(message: str) -> int:
    # A path of thousands of characters would hide what is said of it.
    terminal.say("bench: " + LONG.sub(r"\1...", printable.plain(message)))
    return USAGE


def _name(error: BaseException) -> str:
    return type(error).__name__
