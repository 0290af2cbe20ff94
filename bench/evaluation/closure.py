"""The code that a cached result rests on: modules, what they import, what those import, and so on.

A result is only as good as the code that made it, so its key holds a hash of all of that code.
Which code it is, is read from the import statements, those inside functions included; imports for
type checkers alone are passed over. What is named in a table is imported when it is looked up, so
whoever makes a key names the entries that it uses; `tables.lookup("TABLE", "NAME")` with both
written out is followed here. Modules are read as files and not imported.

Only imports within a package are followed: other packages are known by their versions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from bench.core import extensions, tables

LOOKUP = re.compile(r"lookup\(\s*\"(\w+)\",\s*\"([\w-]+)\"\s*\)")


def code_hash(roots: Iterable[str]) -> str:
    """Hash (hex, 16 characters) of the sources of modules and of all that they import.

    Args:
        roots: dotted names of modules, of bench or of another package.
    """
    return _hash(frozenset(roots))


@functools.cache
def _hash(roots: frozenset[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(closure(roots)):
        digest.update(f"{name} {_source(name)[0]}\n".encode())
    return digest.hexdigest()[:16]


def closure(roots: Iterable[str]) -> frozenset[str]:
    """The modules themselves and all modules that they import, by dotted name."""
    names: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += _source(name)[1]
    return frozenset(names)


@functools.cache
def _source(name: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's file, and the modules of its package that it imports."""
    path = _path(name)
    if path is None:
        return "missing", ()
    content = path.read_bytes()
    imported: list[str] = []
    # A compiled module shows no imports.
    if path.suffix == ".py":
        inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
        imported += _imports(ast.parse(content), name, inside)
        imported += _looked_up(content.decode("utf-8"))
    return hashlib.sha256(content).hexdigest(), tuple(sorted(set(imported)))


def _imports(tree: ast.Module, name: str, inside: str) -> Iterator[str]:
    top = name.partition(".")[0]
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = inside.split(".")[: len(inside.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            if base.partition(".")[0] != top:
                continue
            # A name is a module, or something that the package's own module defines.
            members = [f"{base}.{alias.name}" for alias in node.names]
            targets = [member if _path(member) else base for member in members]
        else:
            continue
        for target in targets:
            if target.partition(".")[0] == top and _path(target):
                yield target


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """All statements, nested ones too, but for blocks of `if TYPE_CHECKING`."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _is_for_checkers(node.test):
            waiting += node.orelse
            continue
        for part in ("body", "orelse", "finalbody"):
            waiting += getattr(node, part, ())
        for block in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            waiting += block.body


def _is_for_checkers(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _looked_up(text: str) -> list[str]:
    """The modules of `lookup("TABLE", "NAME")` with both written out."""
    modules = []
    for table, entry in LOOKUP.findall(text):
        if entry in tables.TABLES.get(table, {}):
            modules.append(extensions.module(table, entry))
    return modules


@functools.cache
def _path(name: str) -> Path | None:
    """The file of a module, None where there is none."""
    top, _, rest = name.partition(".")
    for folder in _folders(top):
        path = folder.joinpath(*rest.split(".")) if rest else folder
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                return candidate
        for candidate in sorted(path.parent.glob(f"{path.name}.*.so")):
            return candidate
    return None


@functools.cache
def _folders(top: str) -> tuple[Path, ...]:
    """Where the modules of a package are."""
    if top == __name__.partition(".")[0]:
        return (Path(__file__).parents[1],)
    spec = find_spec(top)
    if spec is None:
        return ()
    if spec.submodule_search_locations:
        return tuple(map(Path, spec.submodule_search_locations))
    # A module alone: its file, less the suffix.
    return (Path(spec.origin).with_suffix(""),) if spec.origin else ()
