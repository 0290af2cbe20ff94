"""The outcome of the probes, as frozen values and as `probes.json`, the file beside a run's.

A probe looks at one checkpoint and gives rows: a number with its interval, and where it was
measured (a radius, a timestep, a layer). A part of a probe that could not be measured is a row of
its own with the reason, so that nothing is missing without a word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.core import border, sound
from bench.core.errors import InputError
from bench.core.printable import short

SCHEMA = 2
# Rows of schema 1 have no terms.
READABLE = (1, SCHEMA)
FILE = "probes.json"
# JSON has no words for numbers that are not finite.
WORDS = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class ProbeValue:
    """One number of a probe.

    Attributes:
        name: name of the number, for example "lpf".
        value: NaN where undefined.
        low, high: ends of the 95% interval, None where there is none.
        n: number of images, directions or steps that it was measured on.
        scheme: scheme of the quantized network that was probed, "" for full precision.
        where: coordinates, for example {"radius": 0.05, "direction": "global"}.
        terms: the influence of each image (or random vector) on the value, (N,), where checkpoints
            are compared by this number: image i is the same for all of them. To six digits.
        repeats: the value in each random direction, the same directions for all checkpoints.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    scheme: str = ""
    where: Mapping[str, float | str] = field(default_factory=dict)
    terms: tuple[float, ...] = ()
    repeats: tuple[float, ...] = ()


@dataclass(frozen=True)
class ProbePart:
    """The outcome of a part of a probe on one checkpoint.

    Attributes:
        checkpoint, family, method, seed, sha256: the weights that were probed.
        probe, version, part: the probe, its version, and which of its parts.
        status: ok, refused (by the backend) or failed.
        rows: the numbers that were measured.
        error: reason why nothing was measured, one line.
    """

    checkpoint: str
    family: str
    method: str
    seed: int
    sha256: str
    probe: str
    version: int
    part: str
    status: str
    rows: tuple[ProbeValue, ...] = ()
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class ProbeRun:
    """All parts of one invocation.

    Attributes:
        setting: sizes and seeds that all checkpoints had in common.
        run: id of the run whose quantization losses are explained, "" for none.
    """

    id: str
    created: str
    commit: str
    command: str
    setting: Mapping[str, Any]
    parts: tuple[ProbePart, ...]
    run: str = ""
    schema: int = SCHEMA

    def rows(self, checkpoint: str, name: str, **where: float | str) -> list[ProbeValue]:
        """Rows of a checkpoint by name, and by the coordinates that are given."""
        return [
            row
            for part in self.parts
            if part.checkpoint == checkpoint
            for row in part.rows
            if row.name == name and all(row.where.get(key) == x for key, x in where.items())
        ]


def part_to_json(part: ProbePart) -> str:
    """A part as JSON text; numbers that are not finite become words."""
    return json.dumps(_plain(asdict(part)))


def part_from_json(text: str) -> ProbePart:
    """A part from the text of `part_to_json`; ValueError where the text is no part."""
    part = border.build(ProbePart, _numbers(border.parse(text)))
    sound.part(part)
    return part


def to_json(explanation: ProbeRun) -> str:
    """The whole file."""
    return json.dumps(_plain(asdict(explanation)))


def from_json(text: str) -> ProbeRun:
    """Read a `probes.json`.

    Raises:
        InputError: it is none, or one of another schema.
    """
    try:
        data = border.parse(text)
        if data["schema"] not in READABLE:
            schema = short(repr(data["schema"]))
            raise InputError(f"{FILE} has schema {schema}, this bench reads {SCHEMA}: probe again")
        parts = [_numbers(part) for part in data["parts"]]
        probed = border.build(ProbeRun, data | {"parts": parts})
        sound.probe_run(probed)
        return probed
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = short(str(error), 240)
        raise InputError(f"not a {FILE} of bench ({reason}): run `bench probe` again") from None


def read(path: Path) -> ProbeRun:
    """The `probes.json` at a path.

    Raises:
        InputError: no such file, or as for `from_json`; the message names it.
    """
    text = border.text(path, f"a {FILE} of bench")
    try:
        return from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _numbers(part: Any) -> Any:
    """The JSON of a part with "nan", "inf" and "-inf" replaced by the numbers they stand for."""
    if not isinstance(part, dict) or not isinstance(part.get("rows"), list):
        return part
    return part | {"rows": [_row(row) for row in part["rows"]]}


def _row(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    numbers = {name: _number(row[name]) for name in ("value", "low", "high") if name in row}
    lists = {
        name: [_number(x) for x in row[name]]
        for name in ("terms", "repeats")
        if isinstance(row.get(name), list)
    }
    return row | numbers | lists


def _number(value: Any) -> Any:
    return float(value) if value in WORDS else value


def _plain(value: Any) -> Any:
    """JSON has no NaN: the words "nan", "inf" and "-inf" are read back by float()."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
