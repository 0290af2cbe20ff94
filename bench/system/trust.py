"""Whether code that a card names may be executed: only where the command line says so.

A card is a file that may come from anywhere, so a name on it alone executes nothing. The word of
the command line holds in its process, and goes with a worker into the processes of an engine
(`bench.evaluation.worker`).
"""

from __future__ import annotations

from bench.core.errors import InputError

_SAID = {"trusted": False}


def allow(trusted: bool) -> None:
    """Say whether the command that runs now was allowed to execute the code of cards."""
    _SAID["trusted"] = trusted


def allowed() -> bool:
    """Whether the code of cards may be executed."""
    return _SAID["trusted"]


def require(what: str) -> None:
    """Make sure that code may be executed.

    Args:
        what: the card and the code that it names, in words.

    Raises:
        InputError: the command line does not allow it.
    """
    if not allowed():
        raise InputError(f"{what}, which would be executed: read it, and say --trust-code")
