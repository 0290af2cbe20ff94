"""The one error that a user causes and can mend: one line, exit code 2, no traceback."""

from __future__ import annotations


class InputError(Exception):
    """Bad usage or bad input. The message is one line and says what to do about it."""
