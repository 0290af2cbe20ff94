"""The prompts that pictures were made from: a file of names and texts, read for the pictures.

A .csv has a header with the columns name and prompt, a .jsonl a JSON object with these two fields
in each line; other columns and fields are passed over, and so are names that no picture has. A
name is that of the picture, its path within the folder, with or without the suffix.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.core import border
from bench.core.errors import InputError
from bench.core.printable import first_few, quoted, short
from bench.measurement.data.containers import SUFFIXES

FIELDS = NAME, PROMPT = "name", "prompt"
LINES = (".jsonl", ".ndjson")
# Characters of a prompt: far more than any network of texts reads.
LONGEST = 20_000
# How many names a message lists.
SHOWN = 3


def read(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The prompts of pictures.

    Args:
        path: of the file.
        names: of the pictures, without suffix.

    Returns:
        A prompt for each name, in their order.

    Raises:
        InputError: no such file, one that cannot be read as what its suffix says, an empty or
            overlong prompt, two prompts of one name, or pictures without one.
    """
    wanted, by_name = set(names), dict[str, str]()
    for where, name, prompt in _rows(path):
        key = name if name in wanted else _stem(name)
        if not prompt.strip():
            raise InputError(f"{path}, {where}: the prompt of {quoted(name)} is empty")
        if len(prompt) > LONGEST:
            raise InputError(
                f"{path}, {where}: the prompt of {quoted(name)} has {len(prompt):,} characters, "
                f"and at most {LONGEST:,} are read"
            )
        if key in by_name:
            raise InputError(f"{path}, {where}: a second prompt of {quoted(key)}: keep one")
        by_name[key] = prompt
    if missing := [name for name in names if name not in by_name]:
        raise InputError(
            f"{path} has no prompt for {len(missing):,} of {len(names):,} pictures "
            f"({first_few(missing, SHOWN)}): its names are those of the pictures, the path within "
            f"the folder"
        )
    return tuple(by_name[name] for name in names)


def digest(prompts: Sequence[str]) -> str:
    """SHA-256 of prompts in their order."""
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()


def _stem(name: str) -> str:
    """A name without the suffix of a picture."""
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """(where it stands, name, prompt) of each row."""
    suffix = path.suffix.lower()
    if suffix != ".csv" and suffix not in LINES:
        raise InputError(
            f"{short(str(path), 300)}: prompts are a .csv with a header name,prompt, or a .jsonl "
            f"with these fields in each line"
        )
    text = border.text(path, "a file of prompts")
    try:
        yield from _of_csv(text) if suffix == ".csv" else _of_lines(text)
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: no prompts can be read ({short(str(error), 200)})") from None


def _of_csv(text: str) -> Iterator[tuple[str, str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(reader, [])
    if any(header.count(field) != 1 for field in FIELDS):
        raise ValueError(f"its first line must be name,prompt, not {quoted(','.join(header))}")
    name, prompt = map(header.index, FIELDS)
    for row in reader:
        where = f"line {reader.line_num}"
        if row and len(row) != len(header):
            raise ValueError(
                f"{where} has {len(row)} fields and the first line {len(header)}: a prompt with "
                f"commas stands between double quotes"
            )
        if row:
            yield where, row[name], row[prompt]


def _of_lines(text: str) -> Iterator[tuple[str, str, str]]:
    # Not `splitlines`: a JSON text may hold other ends of lines as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            row = border.parse(line)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        said = row if isinstance(row, dict) else {}
        fields: list[Any] = [said.get(field) for field in FIELDS]
        if not all(isinstance(value, str) for value in fields):
            raise ValueError(f"{where} is no object with the texts name and prompt")
        yield where, fields[0], fields[1]
