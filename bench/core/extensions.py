"""Every extension by name, from the tables or from another package, imported on first use.

Adding one costs a module, a line in `bench.core.tables` and a test file. Other packages add theirs
by entry points in the group `bench.<table>`, for example `bench.samplers`; none may have a name
that is taken. What follows the first ":" of a name is an argument: `folder:/x/y` stands for what
`folder` does, called with `argument="/x/y"`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Literal, overload

from bench.core.errors import InputError, offer
from bench.core.printable import quoted
from bench.core.tables import IDENTITIES, RESERVED, TABLES

if TYPE_CHECKING:
    from bench.core.protocols import (
        Backend,
        Dataset,
        Engine,
        Extractor,
        Method,
        Metric,
        Probe,
        Sampler,
        Source,
    )


def names(table: str) -> list[str]:
    """The names in a table, those of other packages included."""
    return sorted({*TABLES[table], *_points(table)})


def plain(name: str) -> str:
    """A name without its argument."""
    return name.partition(":")[0]


@overload
def lookup(table: Literal["sources"], name: str) -> Source: ...
@overload
def lookup(table: Literal["datasets"], name: str) -> Dataset: ...
@overload
def lookup(table: Literal["backends"], name: str) -> type[Backend]: ...
@overload
def lookup(table: Literal["methods"], name: str) -> type[Method]: ...
@overload
def lookup(table: Literal["samplers"], name: str) -> Sampler: ...
@overload
def lookup(table: Literal["extractors"], name: str) -> type[Extractor]: ...
@overload
def lookup(table: Literal["metrics"], name: str) -> type[Metric]: ...
@overload
def lookup(table: Literal["probes"], name: str) -> type[Probe]: ...
@overload
def lookup(table: Literal["engines"], name: str) -> Engine: ...
def lookup(table: str, name: str) -> Any:
    """Import what a name stands for, bound to the argument where the name has one.

    Raises:
        InputError: unknown name, the message offers near ones; or one that takes no argument.
    """
    imported = _import(table, plain(name))
    if ":" not in name:
        return imported
    if "argument" not in inspect.signature(imported).parameters:
        raise InputError(f"{table[:-1]} {plain(name)!r} takes no argument, in {name!r}")
    return partial(imported, argument=name.partition(":")[2])


def require(table: str, name: str) -> None:
    """Make sure that a name, less its argument, is known, without importing what it stands for.

    Raises:
        InputError: it is not; the message offers near ones.
    """
    name = plain(name)
    if name not in names(table):
        raise InputError(f"unknown {table[:-1]} {quoted(name)}: {offer(name[:100], names(table))}")


def _import(table: str, name: str) -> Any:
    require(table, name)
    if name in TABLES[table]:
        imported, attribute = TABLES[table][name].split(":")
        return getattr(import_module(imported), attribute)
    point = _points(table)[name]
    try:
        return point.load()
    # A module of someone else may raise anything while it is imported, or try to end the process.
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{table[:-1]} {name!r} of {package(point)} cannot be imported from {point.value} "
            f"({reason}): mend or uninstall that package"
        ) from None


def module(table: str, name: str) -> str:
    """The module of a name, which is not imported.

    Raises:
        InputError: unknown name.
    """
    return origin(table, name)[0]


def origin(table: str, name: str) -> tuple[str, str, str]:
    """The module of a name, what it is called there, and its package; nothing is imported.

    Raises:
        InputError: unknown name.
    """
    require(table, name)
    name = plain(name)
    if name in TABLES[table]:
        there, _, attribute = TABLES[table][name].partition(":")
        return there, attribute, "bench"
    point = _points(table)[name]
    return point.module, point.attr, package(point)


def identity(table: str, name: str) -> dict[str, str]:
    """Identity of an extension: what decides its numbers besides its code, {} for nothing more.

    For an extension of another package it is the package, the `version` of what it offers, and
    the texts that its own function `identity()` returns, such as the hash of its weights. For one
    of bench it is what the function in IDENTITIES returns, which may depend on the argument as the
    hash of a file does. Only the first kind is imported.

    Raises:
        InputError: unknown name, or a package that cannot be imported or says no mapping.
    """
    require(table, name)
    name, _, argument = name.partition(":")
    if point := _points(table).get(name):
        said = _said(f"{table[:-1]} {name!r} of {package(point)}", _import(table, name))
        return {"package": package(point), **said}
    if line := IDENTITIES.get(f"{table} {name}"):
        imported, attribute = line.split(":")
        function = getattr(import_module(imported), attribute)
        if "argument" in inspect.signature(function).parameters:
            function = partial(function, argument=argument)
        return dict(function(name))
    return {}


def _said(what: str, made: Any) -> dict[str, str]:
    """The version of an extension of another package, and the texts of its `identity()`.

    Only texts and numbers can be part of a key: they read the same in every process.
    """
    try:
        stated = made.identity() if hasattr(made, "identity") else {}
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{what}: identity() fails ({reason}): mend or uninstall that package"
        ) from None
    if not isinstance(stated, Mapping):
        raise InputError(f"{what}: identity() gives no mapping")
    version = {"version": made.version} if hasattr(made, "version") else {}
    if not all(isinstance(number, int) for number in version.values()):
        kind = type(made.version).__name__
        raise InputError(f"{what}: its version is a value of type {kind}, not a whole number")
    for key, value in stated.items():
        if not isinstance(value, str | int | float):
            kind = type(value).__name__
            raise InputError(
                f"{what}: identity() gives a value of type {kind} for {key!r}, not a text"
            )
    return {str(key): str(value) for key, value in {**version, **stated}.items()}


def package(point: metadata.EntryPoint) -> str:
    """The distribution of an entry point, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


@cache
def _points(table: str) -> dict[str, metadata.EntryPoint]:
    """The entry points of other packages; reading all installed ones takes a while.

    Raises:
        InputError: one has a name of bench's own, or two have the same.
    """
    points: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=f"bench.{table}"):
        own = {*TABLES[table], *RESERVED.get(table, ())}
        other = "bench itself" if point.name in own else ""
        if point.name in points and points[point.name] != point:
            other = package(points[point.name])
        if other:
            raise InputError(
                f"{package(point)} offers a {table[:-1]} {point.name!r}, a name that {other} has "
                f"taken: uninstall {point.dist.name if point.dist else 'it'}, or rename its entry "
                f"point"
            )
        points[point.name] = point
    return points
