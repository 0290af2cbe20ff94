"""Python files of a user: executed as modules are, once in a process, and errors in one line.

A file is found by its path alone. What lies in its folder is imported only where the caller says
so, file by file, from the text that `given_files` read, so that what is hashed is what is
executed. Nothing is written beside the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.machinery
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.core.errors import InputError, offer
from bench.core.printable import short
from bench.system import given_files


@cache
def module(path: Path, kind: str) -> ModuleType:
    """A file as a module, executed.

    Args:
        path: the file.
        kind: what it is, a word for the name of the module.

    Raises:
        InputError: no such file, or one that cannot be executed.
    """
    text = given_files.code(path)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    made = ModuleType(f"bench_{kind}_{path.stem}_{digest}")
    made.__file__ = str(path)
    # Where dataclasses and pickles look for it.
    sys.modules[made.__name__] = made
    try:
        exec(compile(text, str(path), "exec"), vars(made))
    except (Exception, SystemExit) as error:
        del sys.modules[made.__name__]
        raise InputError(f"the file cannot be executed ({told(error, path)})") from None
    return made


def named(made: ModuleType, name: str) -> Any:
    """What a module has under a name.

    Raises:
        InputError: there is nothing; the message offers near names.
    """
    value = vars(made).get(name)
    if value is None:
        own = [word for word, other in vars(made).items() if _is_of(other, made)]
        known = f" ({offer(name, own)})" if own else ""
        raise InputError(f"there is no {name} in the file{known}")
    return value


def _is_of(value: object, made: ModuleType) -> bool:
    """Whether a function or a class was defined in a module, not imported there."""
    return callable(value) and getattr(value, "__module__", None) == made.__name__


class Neighbours(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The modules that lie in the folder of a file, importable inside `importable` alone.

    Args:
        folder: of the file.
        known: the files that may be imported, relative to the folder; None for all.
    """

    def __init__(self, folder: Path, known: Collection[str] | None) -> None:
        self.folder, self.known = folder, known
        self.modules: dict[str, ModuleType] = {}
        self.files: list[str] = []

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Let the modules be imported. They are taken out of the process's table afterwards, so
        that two folders may have modules of one name."""
        sys.modules.update(self.modules)
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            for name in [name for name, m in sys.modules.items() if _loader(m) is self]:
                self.modules[name] = sys.modules.pop(name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module of the folder; modules of Python itself come first."""
        top = fullname.partition(".")[0]
        if top in sys.stdlib_module_names or (path is not None and top not in self._tops()):
            return None
        place = self.folder.joinpath(*fullname.split("."))
        for file, is_package in ((place / "__init__.py", True), (place.with_suffix(".py"), False)):
            if file.is_file():
                return importlib.machinery.ModuleSpec(
                    fullname, self, origin=str(file), is_package=is_package
                )
        # A folder of modules without an __init__.py.
        if place.is_dir() and any(place.glob("*.py")):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def _tops(self) -> set[str]:
        names = {*self.modules, *(name for name, m in sys.modules.items() if _loader(m) is self)}
        return {name.partition(".")[0] for name in names}

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Python's own kind of module."""

    def exec_module(self, made: ModuleType) -> None:
        """Execute a file of the folder, if it is one of those that are known."""
        spec = made.__spec__
        if spec is None or spec.origin is None:
            return
        file = Path(spec.origin)
        made.__file__ = str(file)
        name = file.relative_to(self.folder).as_posix()
        if self.known is not None and name not in self.known:
            raise ImportError(f"{name} lies beside the file, but the card does not name it")
        exec(compile(given_files.code(file), str(file), "exec"), vars(made))
        if name not in self.files:
            self.files.append(name)


def _loader(made: object) -> object:
    return getattr(getattr(made, "__spec__", None), "loader", None)


def tried(title: str, what: str, call: Callable[[], Any], path: Path | None = None) -> Any:
    """What a call gives, whatever it raises as one line; its own InputError stays.

    Args:
        title: what is called, in words.
        what: the part of it that may fail.
        call: the call.
        path: the file whose line is told.
    """
    try:
        return call()
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(title) else f"{title}: {text}") from None
    except (Exception, SystemExit) as error:
        raise InputError(f"{title}: {what} fails ({told(error, path)})") from None


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
    module.cache_clear()
    given_files.forget()
