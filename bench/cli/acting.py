"""Flags that act when they are read: the command line has them, and the command need not.

Each has a callback, as `--trust-code`, which does all that the flag says.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

Command = Callable[..., Any]


def acting(**flags: tuple[Any, Any]) -> Callable[[Command], Command]:
    """Add flags to those of a command, which is not given them.

    Args:
        flags: by name, the annotation of a flag and its default.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def called(*arguments: Any, **named: Any) -> Any:
            return command(*arguments, **{n: v for n, v in named.items() if n not in flags})

        kind = inspect.Parameter.KEYWORD_ONLY
        added = [
            inspect.Parameter(name, kind, default=default, annotation=annotation)
            for name, (annotation, default) in flags.items()
        ]
        own, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
        known = [p.replace(annotation=hints[p.name]) for p in own.parameters.values()]
        wrapped: Any = called
        wrapped.__signature__ = own.replace(parameters=[*known, *added])
        notes = {name: annotation for name, (annotation, _) in flags.items()}
        wrapped.__annotations__ = {**hints, **notes}
        # What wraps another function would be asked for the annotations of that.
        del wrapped.__wrapped__
        return called

    return decorate
