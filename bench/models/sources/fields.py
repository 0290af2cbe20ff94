"""The use of each field of a description: used, irrelevant to the images, or refused.

A description is a `config.json` or `scheduler_config.json` of diffusers. A field that changes the
images and is not honoured would make a wrong number without a word, so every field stands in a
table. What stands in none is taken only where it has the default of the installed diffusers, or
null, which a description writes for "not set".
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core import border
from bench.core.errors import InputError
from bench.core.printable import short
from bench.system.quiet import quiet_import

# An index of the largest networks has some hundred kilobytes.
BYTES = 1 << 24


@dataclass(frozen=True)
class Field:
    """The use that bench makes of a field.

    Attributes:
        use: "used", "irrelevant" or "refused".
        why: why an irrelevant field does not matter, or what a refused one would mean; of a used
            one, what else tells a wrong value, "" for nothing.
        allowed: values of a refused field that are accepted, as they change nothing.
    """

    use: str
    why: str = ""
    allowed: tuple[Any, ...] = ()


def used(*names: str) -> dict[str, Field]:
    """Fields that are honoured."""
    return {name: Field("used") for name in names}


def shown(*names: str) -> dict[str, Field]:
    """Fields that are honoured, and where a wrong value would not take the weights."""
    return {name: Field("used", "the shapes of the weights show it") for name in names}


def irrelevant(why: str, *names: str) -> dict[str, Field]:
    """Fields that do not change what is measured."""
    return {name: Field("irrelevant", why) for name in names}


def refused(why: str, *allowed: Any, names: tuple[str, ...]) -> dict[str, Field]:
    """Fields that are refused unless they have one of the allowed values."""
    return {name: Field("refused", why, allowed) for name in names}


def check(
    said: Mapping[str, Any], table: Mapping[str, Field], defaults: Mapping[str, Any], label: str
) -> None:
    """Hold a description against the table of its kind.

    Args:
        said: the description; names that begin with "_" are notes of diffusers itself.
        table: the use of each field.
        defaults: the defaults of the class, for fields that the table does not have.
        label: the file, for the error.

    Raises:
        InputError: a field that bench does not honour has a value that says something.
    """
    for name, value in said.items():
        if name.startswith("_"):
            continue
        field = table.get(name)
        if field is None and value is not None and not same(value, defaults.get(name)):
            # The class may be named elsewhere, by the index of a pipeline.
            of = f" of a {said['_class_name']}" if said.get("_class_name") else ""
            raise InputError(
                f"{label}: {name} = {value!r}{of} is not known to bench, and may change the "
                f"images; if it does not, take it out of the file"
            )
        if field and field.use == "refused" and not any(same(value, a) for a in field.allowed):
            raise InputError(f"{label}: {name} = {value!r} is not supported: {field.why}")


def same(value: Any, other: Any) -> bool:
    """Equality, true and 1 apart, lists and tuples alike."""
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return list(value) == list(other)
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def untold(
    said: Mapping[str, Any], table: Mapping[str, Field], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """What a description leaves to the defaults of its class, and nothing else tells.

    A default of None is no value: the class does without.
    """
    return {
        name: usual[name]
        for name, field in table.items()
        if field.use == "used" and not field.why
        if name not in said and usual.get(name) is not None
    }


def words(values: Mapping[str, Any]) -> str:
    """Fields and their values as JSON has them, in words."""
    return ", ".join(
        f"{name} {json.dumps(value)}".replace('"', "") for name, value in values.items()
    )


def defaults(name: str) -> dict[str, Any]:
    """The arguments and defaults of a class of the installed diffusers; None where it has none.

    Raises:
        InputError: this diffusers has no such class.
    """
    with quiet_import():
        import diffusers

        network = getattr(diffusers, name, None)
    if network is None:
        raise InputError(f"diffusers {diffusers.__version__} has no {name}: install a newer one")
    arguments = list(inspect.signature(network.__init__).parameters.values())[1:]
    return {a.name: None if a.default is a.empty else a.default for a in arguments}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object, each of which stands there once: the last would win unseen."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields and not same(value, fields[name]):
            raise ValueError(f"{name!r} stands there twice, with different values")
        fields[name] = value
    return fields


def read(path: Path) -> dict[str, Any]:
    """A description as it stands in its file.

    Raises:
        InputError: it is missing, damaged, or larger and deeper than any description.
    """
    try:
        content = border.parse(border.text(path, "a description", BYTES), _once)
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({short(str(error), 200)})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no description")
    return content
