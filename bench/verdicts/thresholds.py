"""Thresholds: the least worsening of a metric that matters, and which rows gate.

They come from a TOML file of `[[threshold]]` entries (bench/verdicts/thresholds.toml is the
shipped one and explains the fields), a user's file being read after the shipped one, and from
words on the command line: `METRIC`, `METRIC:0.5`, `METRIC:5%`. Where words name metrics, only
those gate.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import tomllib

from bench.core import border
from bench.core.errors import InputError
from bench.core.printable import quoted, short

SHIPPED = Path(__file__).parent / "thresholds.toml"
# Bytes that such a file may have.
BYTES = 1 << 20
# Largest threshold (larger ones overflow in products) and longest glob.
MOST, GLOB = 1e100, 200
_WORD = re.compile(r"(?P<metric>[\w*?+-]+)(?::(?P<size>[0-9.eE+-]+)(?P<percent>%?))?")


@dataclass(frozen=True)
class Threshold:
    """An entry: where it applies, and the least worsening that matters there."""

    metric: str = "*"
    checkpoint: str = "*"
    scheme: str = "*"
    absolute: float | None = None
    relative: float | None = None
    gate: bool = True

    def matches(self, metric: str, checkpoint: str, scheme: str) -> bool:
        """Whether the entry applies to a row."""
        pairs = (metric, self.metric), (checkpoint, self.checkpoint), (scheme, self.scheme)
        return all(fnmatch.fnmatchcase(name, glob) for name, glob in pairs)

    def size(self, level: float) -> float:
        """The threshold in the metric's unit, where the full-precision value is `level`."""
        sizes = [self.absolute or 0.0]
        if self.relative is not None and math.isfinite(level):
            sizes.append(self.relative * abs(level))
        return max(sizes)


def find(
    thresholds: Sequence[Threshold], metric: str, checkpoint: str, scheme: str
) -> Threshold | None:
    """The last entry that matches a row, None where none does."""
    matching = [t for t in thresholds if t.matches(metric, checkpoint, scheme)]
    return matching[-1] if matching else None


def load(path: Path | None = None, words: Sequence[str] = ()) -> list[Threshold]:
    """The shipped entries, then those of a file, then those of words.

    Raises:
        InputError: the file or a word cannot be read.
    """
    entries = read(SHIPPED)
    if path is not None:
        entries += read(path)
    if words:
        entries = [replace(entry, gate=False) for entry in entries]
        entries += [entry for word in words for entry in _from_word(entries, word)]
    return entries


def names(word: str, metric: str) -> bool:
    """Whether a word of the command line names a metric."""
    stem = word.split(":")[0]
    return any(fnmatch.fnmatchcase(metric, glob) for glob in (stem, f"{stem}_*"))


def read(path: Path) -> list[Threshold]:
    """The entries of a TOML file.

    Raises:
        InputError: no TOML, or an entry with an unknown or mistyped field or no threshold.
    """
    try:
        data = tomllib.loads(border.text(path, "a TOML file of thresholds", BYTES))
    # Nested some hundred levels deep it is a RecursionError.
    except (ValueError, RecursionError) as error:
        reason = short(str(error), 200)
        raise InputError(f"{path}: not a readable TOML file ({reason})") from None
    entries = data.get("threshold")
    if set(data) != {"threshold"} or not isinstance(entries, list):
        raise InputError(f"{path}: must hold [[threshold]] entries and nothing else")
    return [_entry(f"{path}: threshold {k}", entry) for k, entry in enumerate(entries, 1)]


def _entry(label: str, entry: Any) -> Threshold:
    known = {field.name for field in fields(Threshold)}
    if not isinstance(entry, dict) or not set(entry) <= known:
        raise InputError(f"{label}: known fields are {', '.join(sorted(known))}")
    for name, value in entry.items():
        if name in ("absolute", "relative"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= MOST:
                raise InputError(f"{label}, field {name}: must be a number of at least 0")
        elif not isinstance(value, bool if name == "gate" else str):
            kind = "true or false" if name == "gate" else "text"
            raise InputError(f"{label}, field {name}: must be {kind}, not {short(repr(value))}")
        elif isinstance(value, str) and len(value) > GLOB:
            raise InputError(f"{label}, field {name}: a glob of more than {GLOB} characters")
    threshold = Threshold(**entry)
    if threshold.absolute is None and threshold.relative is None:
        raise InputError(f"{label}: needs a field absolute or relative")
    return threshold


def _from_word(known: Sequence[Threshold], word: str) -> list[Threshold]:
    """A word's gating entry; without a size, the known entries of that metric, gating."""
    match = _WORD.fullmatch(word)
    try:
        size = float(match["size"]) if match and match["size"] else None
    except ValueError:
        match = None
    if not match or len(match["metric"]) > GLOB or (size is not None and not 0 <= size <= MOST):
        raise InputError(f"--fail-on takes METRIC, METRIC:0.5 or METRIC:5%, not {quoted(word)}")
    globs = (match["metric"], f"{match['metric']}_*")
    if size is None:
        alike = [t for t in known if t.metric in globs]
        alike = alike or [
            replace(t, metric=word) for t in known if fnmatch.fnmatchcase(word, t.metric)
        ]
        if not alike:
            raise InputError(f"--fail-on {word}: no threshold is known, write {word}:SIZE")
        return [replace(entry, gate=True) for entry in alike]
    if match["percent"]:
        return [Threshold(glob, relative=size / 100) for glob in globs]
    return [Threshold(glob, absolute=size) for glob in globs]
