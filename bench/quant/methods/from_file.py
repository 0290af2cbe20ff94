"""Method `python`: a function or a class of a file that the user names, `FILE.py:NAME`.

The file is executed as a module is when a scheme is checked or computed, once in a process;
nothing that only reads a run executes it. It is found by its path alone: the folder that it lies
in is not searched for what it imports. A function is what `bench.core.protocols.Method` calls; a
class may have the rest of that contract too, and `FILE.py:NAME:ARGUMENT` hands over the argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.printable import short
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.system import given_files, user_code
from bench.system.user_code import tried

if TYPE_CHECKING:
    from torch.fx import GraphModule

HOW = "write python:FILE.py:FUNCTION"


class Named(NamedTuple):
    """What `FILE.py:NAME:ARGUMENT` says; `argument` is None where there is none."""

    path: Path
    name: str
    argument: str | None


class FromFile:
    """Calls a function of your own: python=FILE.py:FUNCTION, or --method python:FILE.py:FUNCTION.

    Args:
        argument: "FILE.py:NAME" or "FILE.py:NAME:ARGUMENT".

    Raises:
        InputError: no such file or name, one that is no method, or an error while the file is
            executed.
    """

    version = 1

    def __init__(self, argument: str = "") -> None:
        self.title = f"method python:{short(argument, 200)}"
        try:
            self.given = _made(parse(argument), self.title)
        except InputError as error:
            text = str(error)
            raise InputError(
                text if text.startswith(self.title) else f"{self.title}: {text}"
            ) from None
        for name in ("prepare", "check"):
            if hasattr(self.given, name):
                setattr(self, name, getattr(self.given, name))

    def refuses(self, scheme: Scheme) -> str | None:
        """What the class says; a function takes every scheme.

        Raises:
            InputError: it fails, or gives no text.
        """
        if not hasattr(self.given, "refuses"):
            return None
        reason = tried(self.title, "refuses", lambda: self.given.refuses(scheme))
        if reason is not None and not isinstance(reason, str):
            raise InputError(f"{self.title}: refuses gives a {type(reason).__name__}, not a text")
        return reason or None

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """What the function gives; a class without `__call__` leaves the graph as it is."""
        if not callable(self.given):
            return graph
        changed: GraphModule = self.given(graph, denoiser, calibration)
        return changed


def parse(argument: str) -> Named:
    """Path, name and argument out of a text.

    Raises:
        InputError: the text has another form.
    """
    stem, suffix, rest = argument.partition(".py:")
    name, colon, value = rest.partition(":")
    if not (stem and suffix and name.isidentifier()):
        raise InputError(f"no function of a file: {HOW}")
    return Named(given_files.place(f"{stem}.py"), name, value if colon else None)


def sha256(argument: str) -> str:
    """SHA-256 (hex) of the file that an argument names, which is not executed.

    Raises:
        InputError: there is no such file, or the text has another form.
    """
    try:
        return given_files.sha256_of_code(parse(argument).path)
    except InputError as error:
        raise InputError(f"method python:{short(argument, 200)}: {error}") from None


def _made(named: Named, title: str) -> Any:
    """The function, or the class once it was made."""
    given = user_code.named(user_code.module(named.path, "method"), named.name)
    if inspect.isclass(given):
        takes = "argument" in _parameters(given)
        if named.argument is not None and not takes:
            raise InputError("its __init__ has no parameter argument, so it takes none")
        words = {} if named.argument is None else {"argument": named.argument}
        made = tried(title, "__init__", lambda: given(**words))
        if not callable(made) and not hasattr(made, "prepare"):
            raise InputError(f"{named.name} has neither __call__ nor prepare")
        return made
    if named.argument is not None:
        raise InputError("a function takes no argument: write a class with __init__(argument)")
    if not callable(given):
        raise InputError(f"{named.name} is a {type(given).__name__}, not a function")
    _check_signature(given)
    return given


def _parameters(given: Callable[..., Any]) -> Any:
    try:
        return inspect.signature(given).parameters
    # Some of those written in C say none.
    except (TypeError, ValueError):
        return {}


def _check_signature(given: Callable[..., Any]) -> None:
    try:
        inspect.signature(given).bind(None, None, None)
    except TypeError as error:
        raise InputError(f"it must take (graph, denoiser, calibration): {error}") from None
    except ValueError:
        return


def forget() -> None:
    """Execute files anew when they are asked for again, as another command does."""
    user_code.forget()
