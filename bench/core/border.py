"""Where files enter: text of regular files, JSON of bounded depth, and values by their types.

Everything that bench reads back was written by somebody else: another release, a person, a disk
that lost a bit. It is checked here, once, so that no later line meets a list where it expects a
number. pydantic holds JSON against the frozen dataclasses themselves: types are strict (True is no
1, "1" is no number), fields that are not known are refused, and NaN and infinities stay numbers.
"""

from __future__ import annotations

import functools
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.core.errors import InputError
from bench.core.printable import short

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
# Limits far above any file that bench writes: bytes, nesting, and size of whole numbers.
BYTES = 1 << 28
DEPTH = 60
WHOLE = 2**63
_SURROGATE = re.compile("[\ud800-\udfff]")


def text(path: Path, what: str, most: int | None = None) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark.

    Args:
        path: the file; a link to one will do, a pipe or device will not.
        what: name of what the file should be, for the message: "a run.json of bench".
        most: bytes that such a file may have, None for 2^28.

    Raises:
        InputError: no such file, no regular one, a huge one, or no UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InputError(f"{short(str(path), 300)} is {kind}, not {what}")
        if status.st_size > (BYTES if most is None else most):
            raise InputError(f"{path} has {status.st_size} bytes: too many for {what}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not {what} (no UTF-8, from byte {error.start} on): save it as UTF-8"
        ) from None
    # A null byte in a name is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{short(str(path), 300)}: cannot be read as {what} ({reason})") from None


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; a name that no disk can hold does not exist."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that no disk can hold does not exist."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no disk can hold does not exist."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def parse(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """JSON as Python values, its depth and its whole numbers bounded.

    Args:
        text: the JSON.
        pairs: makes an object of its fields, as they stand there; a dictionary by default.

    Raises:
        ValueError: no JSON, nested too deeply, a huge whole number, or half a character.
    """
    try:
        data = json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _bounded(data)
    return data


def build(kind: type[T], data: Any) -> T:
    """JSON values as a frozen dataclass, nested ones included.

    Raises:
        ValueError: a field that is missing, unknown or of another type; in one line.
    """
    from pydantic import ValidationError

    try:
        adapter: TypeAdapter[Any] = _adapter(kind)  # type: ignore[arg-type]
        made: T = adapter.validate_json(json.dumps([data]))[0]
        return made
    except ValidationError as error:
        raise ValueError(_line(error)) from None
    # The dataclasses check some of their values themselves.
    except InputError as error:
        raise ValueError(str(error)) from None


def schema(kind: type) -> dict[str, Any]:
    """The JSON schema of what `build` takes."""
    whole = _adapter(kind).json_schema()
    definitions = whole["$defs"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    made: dict[str, Any] = head | definitions.pop(kind.__name__) | {"$defs": definitions}
    return made


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """pydantic takes a tenth of a second to import, so it is only where something is read."""
    from pydantic import ConfigDict, TypeAdapter

    # A dataclass takes these settings only from the type that holds it, here a list.
    return TypeAdapter(list[kind], config=ConfigDict(strict=True, extra="forbid"))


def _line(error: Any) -> str:
    first, *others = error.errors(include_url=False, include_input=False, include_context=False)
    field = ".".join(map(str, first["loc"][1:]))
    more = f", and {len(others)} more" if others else ""
    return f"{short(field, 120) or 'the whole'}: {short(first['msg'])}{more}"


def _bounded(data: Any) -> None:
    waiting = [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEPTH:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            waiting += [(name, depth) for name in value]
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
            raise ValueError("half a character (a lone surrogate)")
        elif type(value) is int and abs(value) >= WHOLE:
            raise ValueError("a whole number of more than 63 bits")
