"""The one error that a user causes and can mend: one line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad usage or bad input. The message is one line and says what to do about it."""


class NotMeasured(InputError):
    """A metric that is not defined for these images. A cell keeps its other numbers and this
    reason, so the line reads well after the words "not measured"."""


class NotExecuted(InputError):
    """A network that a backend cannot execute. Its cell is refused with this reason, and the other
    cells go on."""


def offer(word: str, known: Iterable[str]) -> str:
    """End of a message about an unknown word: similar known words, else all known words."""
    words = list(known)
    # Words are compared without case: difflib would count another case as another letter.
    folded = {w.casefold(): w for w in words}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"did you mean {folded[near[0]]!r}?" if near else f"known: {', '.join(words)}"
