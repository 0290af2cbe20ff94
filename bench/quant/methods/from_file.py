"""Method `python`: a function or a class of a file that the user names, `FILE.py:NAME`.

The file is executed as a module is when a scheme is checked or computed, once in a process;
nothing that only reads a run executes it. It is found by its path alone: the folder that it lies
in is not searched for what it imports. A function is what `bench.core.protocols.Method` calls; a
class may have the rest of that contract too, and `FILE.py:NAME:ARGUMENT` hands over the argument.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError, offer
from bench.core.printable import short
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.system import given_files

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
    module = _module(named.path)
    given = vars(module).get(named.name)
    if given is None:
        own = [name for name, value in vars(module).items() if _is_of(value, module)]
        known = f" ({offer(named.name, own)})" if own else ""
        raise InputError(f"there is no {named.name} in the file{known}")
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


def _is_of(value: object, module: ModuleType) -> bool:
    """Whether a function or a class was defined in a module, not imported there."""
    return callable(value) and getattr(value, "__module__", None) == module.__name__


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


@cache
def _module(path: Path) -> ModuleType:
    """The file as a module, executed."""
    text = given_files.code(path)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    module = ModuleType(f"bench_method_{path.stem}_{digest}")
    module.__file__ = str(path)
    # Where dataclasses and pickles look for it.
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise InputError(f"the file cannot be executed ({told(error, path)})") from None
    return module


def tried(title: str, what: str, call: Callable[[], Any]) -> Any:
    """What a call gives, whatever it raises as one line; its own InputError stays."""
    try:
        return call()
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(title) else f"{title}: {text}") from None
    except (Exception, SystemExit) as error:
        raise InputError(f"{title}: {what} fails ({told(error)})") from None


def told(error: BaseException, path: Path | None = None) -> str:
    """An error in one line, with the line of the file that it came from where that is known."""
    name = type(error).__name__
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{name}: {short(error.msg, 200)}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if path is not None and frame.filename == str(path)]
    where = f", line {own[-1]}" if own else ""
    return f"{name}: {short(str(error), 200)}{where}"


def forget() -> None:
    """Execute files anew when they are asked for again, as another command does."""
    _module.cache_clear()
    given_files.forget()
