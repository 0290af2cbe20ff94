"""YAML files that people write: read once, at the border, as plain text, numbers, lists, mappings.

YAML can say much more than a card or a suite needs, and some of it harms: aliases that unfold to
gigabytes, a key that silently overrides an earlier one, text that would drive a terminal. `read`
takes what JSON could hold and refuses the rest in one line that names the file and the line in it.

What a plain word means is the core schema of YAML 1.2.2 (section 10.3.2). In YAML 1.1, which the
library reads, `no` is false, 1:30 is 90 and 010 is 8; here the first two are text, and a number
that begins with 0 is refused, as readers differ over it.

Limits: BYTES for a file, NODES values once all aliases are unfolded, DEPTH levels.
"""

from __future__ import annotations

import math
import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import InputError

BYTES = 1 << 20
NODES = 200_000
DEPTH = 40
# Whole numbers beyond this fit neither databases nor tensors.
LARGEST = 2**63
_PLAIN = {f"tag:yaml.org,2002:{word}" for word in ("null", "bool", "int", "float", "str")}
_MERGE = "tag:yaml.org,2002:merge"


# Plain words by what they mean, and the characters that they begin with.
_CORE = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
    ("merge", "<<", ("<",)),
)
_OCTAL = re.compile(r"[-+]?0[0-9]+")


class _Loader(yaml.SafeLoader):
    """Reads plain words as YAML 1.2 does."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (the library's own way)


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version of YAML reads as something else."""


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = node.value
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _real(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _teach() -> None:
    for kind, pattern, first in _CORE:
        for reader in (_Loader, _Dumper):
            tag = f"tag:yaml.org,2002:{kind}"
            reader.add_implicit_resolver(tag, re.compile(f"(?:{pattern})$"), list(first))
    _Loader.add_constructor("tag:yaml.org,2002:int", _whole)
    _Loader.add_constructor("tag:yaml.org,2002:float", _real)


_teach()


class _Refused(yaml.YAMLError):
    """An error in a file: the reason, and the line (counted from 0)."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line + 1}: {reason}")


def read(path: Path) -> Any:
    """The content of a YAML file: mappings with text as keys, lists, text, numbers, booleans.

    Raises:
        InputError: no regular file, too large, not UTF-8, no YAML, a key used twice or that is no
            text, a value that is neither text nor number or not finite, control characters, or
            aliases and nesting beyond the limits.
    """
    return parse(_text(path), str(path))


def parse(text: str, label: str) -> Any:
    """The content of a YAML text, as `read`; `label` names it in messages.

    Raises:
        InputError: as for `read`.
    """
    try:
        return _parse(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{label}: not a readable YAML file ({reason})") from None


def dump(content: Any) -> str:
    """The YAML text of plain values, which `parse` and other readers of YAML read as they are."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)


def _text(path: Path) -> str:
    """The text of a regular file of at most BYTES; a pipe or device is never read."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise InputError(f"{path}: not a file but a {_kind(mode)}")
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                data = stream.read(BYTES + 1)
        finally:
            os.close(descriptor)
    # A path with a null byte is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read ({reason})") from None
    if len(data) > BYTES:
        raise InputError(f"{path}: larger than {BYTES >> 20} MiB, which no file of this kind is")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a readable YAML file (no UTF-8 at byte {error.start})"
        ) from None


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    return "pipe" if stat.S_ISFIFO(mode) else "device"


def _parse(text: str) -> Any:
    _check_depth(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Check().size(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Follow the events, which needs no recursion, before anything that does."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH:
            assert event.start_mark is not None
            raise _Refused(f"nested more than {DEPTH} levels deep", event.start_mark.line)


class _Check:
    """Checks a graph of nodes, each once, and counts what it unfolds to."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.open: set[int] = set()

    def size(self, node: yaml.Node) -> int:
        """Values under a node once its aliases are unfolded."""
        key, line = id(node), node.start_mark.line
        if key in self.open:
            raise _Refused("an alias within what it stands for", line)
        if key not in self.sizes:
            self.open.add(key)
            self.sizes[key] = 1 + sum(map(self.size, self._children(node)))
            self.open.remove(key)
            if self.sizes[key] > NODES:
                raise _Refused(f"its aliases unfold to more than {NODES} values", line)
        return self.sizes[key]

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
            return []
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise _Refused(
                f"a value is neither text nor number ({node.tag})", node.start_mark.line
            )
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        seen: set[str] = set()
        for key, _ in node.value:
            _check_key(key, seen)
        return [part for pair in node.value for part in pair if part.tag != _MERGE]


def _check_key(key: yaml.Node, seen: set[str]) -> None:
    line = key.start_mark.line
    if key.tag == _MERGE:
        return
    if key.tag != "tag:yaml.org,2002:str":
        written = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
        raise _Refused(f"a key must be text, write {written!r:.40} in quotes", line)
    if key.value in seen:
        raise _Refused(f"{key.value!r:.40} stands there twice", line)
    seen.add(key.value)


def _check_scalar(node: yaml.ScalarNode) -> None:
    line, text = node.start_mark.line, node.value
    if node.tag == _MERGE:
        return
    if node.tag not in _PLAIN:
        raise _Refused(f"a value is neither text nor number ({text!r:.40}): use quotes", line)
    if node.tag.endswith(":str"):
        wrong = next((c for c in text if not _printable(c)), None)
        if wrong is not None:
            raise _Refused(f"a control character, {wrong!r}, in {text!r:.40}", line)
    elif node.tag.endswith((":int", ":float")):
        if _OCTAL.fullmatch(text):
            raise _Refused(
                f"{text!r:.40} begins with 0, which some read as octal: write the number without "
                f"it, or use quotes",
                line,
            )
        # Python itself refuses to read an integer of some thousand digits.
        number = math.inf if len(text) > 400 else _number(node)
        if not -LARGEST <= number < LARGEST and node.tag.endswith(":int"):
            raise _Refused(f"a number of more than 64 bits, {text!r:.40}: use quotes", line)
        if not math.isfinite(number):
            raise _Refused(f"a value is neither text nor number ({text!r:.40})", line)


def _number(node: yaml.ScalarNode) -> float:
    loader = _Loader("")
    try:
        number: float = loader.construct_object(node)
        return number
    except (ValueError, KeyError):
        raise _Refused(f"not a number, {node.value!r:.40}", node.start_mark.line) from None
    finally:
        loader.dispose()


def _printable(character: str) -> bool:
    """Whether text may hold it: no C0, DEL, C1, line separators, half of a pair or bidi mark."""
    code = ord(character)
    return (
        character in "\n\t"
        or 0x20 <= code < 0x7F
        or (code >= 0xA0 and not 0xD800 <= code < 0xE000 and code not in _MARKS)
    )


_MARKS = {0x2028, 0x2029, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF}
