"""The code of a network that a card names, FILE.py:FUNCTION or MODULE:FUNCTION.

It is hashed without being executed, held against the hashes on the card, and executed only where
the command line allows it (`bench.system.trust`). The code of FILE.py is the file and whatever it
imports from its own folder, each by its hash; that of an installed module is all of its package.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.core.printable import short
from bench.system import given_files, trust, user_code

HOW = "write FILE.py:FUNCTION, or MODULE:FUNCTION of an installed module"
_MODULE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)", re.ASCII)


class Named(NamedTuple):
    """What a text names: a file, or a module where `path` is None, and a function in it."""

    path: Path | None
    module: str
    function: str


def parse(text: str) -> Named:
    """File or module, and function.

    Raises:
        InputError: the text has another form.
    """
    stem, suffix, function = text.partition(".py:")
    if suffix and stem and function.isidentifier():
        return Named(given_files.place(f"{stem}.py"), "", function)
    matched = _MODULE.fullmatch(text)
    if not matched:
        raise InputError(f"network {short(text, 200)!r} names no function: {HOW}")
    return Named(None, matched[1], matched[2])


def title(network: str) -> str:
    """What a network is called in messages."""
    return f"network {short(network, 200)}"


def resolved(network: str, folder: Path) -> str:
    """The text with the path of its file made absolute.

    Args:
        network: from a card.
        folder: of the card file, to which the path is relative.

    Raises:
        InputError: the text has another form.
    """
    named = parse(network)
    return network if named.path is None else f"{folder / named.path}:{named.function}"


def first_digests(network: str) -> dict[str, str]:
    """SHA-256 (hex) of the code, as far as it shows without being executed, by its name.

    Raises:
        InputError: no such file or module.
    """
    named = parse(network)
    try:
        if named.path is None:
            top = named.module.partition(".")[0]
            return {top: _package(top)}
        return {named.path.name: given_files.sha256_of_code(named.path)}
    except InputError as error:
        raise InputError(f"{title(network)}: {error}") from None


def digests(network: str) -> dict[str, str]:
    """SHA-256 (hex) of all code that was executed for a network, by its name."""
    named, first = parse(network), first_digests(network)
    if named.path is None:
        return first
    beside = sorted(_neighbours(named.path).files)
    return first | {n: given_files.sha256_of_code(named.path.parent / n) for n in beside}


@cache
def _package(top: str) -> str:
    """SHA-256 (hex) of the names and texts of all modules of an installed package."""
    spec = find_spec(top)
    if spec is None:
        raise InputError(f"no module {top} is installed here")
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    files = [(path, folder) for folder in folders for path in sorted(folder.rglob("*.py"))]
    if not folders and spec.origin:
        files = [(Path(spec.origin), Path(spec.origin).parent)]
    total = hashlib.sha256()
    for path, folder in files:
        text = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {text}\n".encode())
    return total.hexdigest()


def verified(card: Checkpoint) -> Checkpoint:
    """Check that the code of a card may be executed and is what the card says; a card without
    hashes gets that of the file or package.

    Raises:
        InputError: it is not allowed, missing, or another one.
    """
    label = f"card {card.name!r}"
    if not card.network:
        raise InputError(f"{label}, field network: missing: {HOW}")
    trust.require(f"{label} names code of its own, {short(card.network, 200)}")
    try:
        now = first_digests(card.network)
        named = parse(card.network)
        for name in card.code:
            if name not in now and named.path is not None and _is_inside(name):
                now[name] = given_files.sha256_of_code(named.path.parent / name)
    except InputError as error:
        raise InputError(f"{label}, field network: {error}") from None
    for name, digest in card.code.items():
        if now.get(name) != digest.lower():
            raise InputError(
                f"{label}, field code: {name} has {now.get(name, 'none')[:12]}..., the card says "
                f"{digest[:12]}...: the code was changed; read it, and import the checkpoint again"
            )
    return replace(card, code={**now, **card.code})


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


@cache
def _neighbours(path: Path) -> user_code.Neighbours:
    return user_code.Neighbours(path.parent, None)


@contextmanager
def importable(network: str, known: Collection[str] | None) -> Iterator[None]:
    """Let what lies beside the file of a network be imported: what is known, None for all."""
    path = parse(network).path
    if path is None:
        yield
        return
    neighbours = _neighbours(path)
    neighbours.known = known
    with neighbours.importable():
        yield


def called(network: str, known: Collection[str] | None, arguments: Mapping[str, Any]) -> Any:
    """What the function of a network gives; its code is executed.

    Args:
        network: names it, by an absolute path or a module.
        known: files that it may import from beside its own; None for all.
        arguments: of the function, by name.

    Raises:
        InputError: there is no such function, or it fails, in one line with that of the file.
    """
    trust.require(title(network))
    named = parse(network)
    with importable(network, known):
        made = user_code.tried(title(network), named.module, lambda: function_of(named))
        call: Callable[[], Any] = lambda: made(**arguments)  # noqa: E731
        return user_code.tried(title(network), named.function, call, named.path)


def function(network: str) -> Callable[..., Any]:
    """The function of a network, of which all may be imported that lies beside it.

    Raises:
        InputError: as for `called`.
    """
    trust.require(title(network))
    named = parse(network)
    with importable(network, None):
        made: Callable[..., Any] = user_code.tried(
            title(network), named.module, lambda: function_of(named), named.path
        )
    return made


def function_of(named: Named) -> Callable[..., Any]:
    """The function of that name; its code is executed.

    Raises:
        InputError: there is none.
    """
    if named.path is not None:
        function = user_code.named(user_code.module(named.path, "network"), named.function)
    else:
        function = getattr(importlib.import_module(named.module), named.function, None)
        if function is None:
            raise InputError(f"there is no {named.function} in {named.module}")
    if not callable(function):
        raise InputError(f"{named.function} is a {type(function).__name__}, not a function")
    made: Callable[..., Any] = function
    return made


def forget() -> None:
    """Execute all code anew when it is asked for again, as another command does."""
    user_code.forget()
    _neighbours.cache_clear()
    _package.cache_clear()
