"""`bench score`: pictures that were made elsewhere against those that they should equal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import ending, execution, exits, publishing
from bench.cli.flags import (
    Backbones,
    Extractors,
    Inception,
    Metrics,
    Out,
    Redact,
    listed,
)
from bench.core import border, distances
from bench.core.errors import InputError
from bench.core.printable import first_few, quoted, say, short
from bench.core.record import Record
from bench.system import influences, store
from bench.system.host import fingerprint
from bench.system.influences import Influences

if TYPE_CHECKING:
    import numpy as np

    from bench.evaluation.elsewhere import Asked

LONGEST = 100
# A label is part of the names of cells, rows and files.
LABEL = re.compile(r"[\w.+-]+")

Reference = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="Folder, zip or .npz of pictures.")
]
Kernel = Annotated[
    str, typer.Option("--kernel", metavar="TEXT", help="What executed; it is recorded.")
]
Prompts = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="FILE", help="A .csv or .jsonl with name and prompt."),
]
LeaveOut = Annotated[
    bool, typer.Option("--leave-out", help="Leave out what cannot be compared, and record it.")
]
Accepted = Annotated[
    list[str] | None,
    typer.Option("--floor", metavar="DIR", help="The same by what everyone accepts (repeatable)."),
]


def score(
    reference: Reference,
    tests: Annotated[
        list[str],
        typer.Argument(metavar="TEST", help="The same pictures, quantized: PATH or NAME=PATH."),
    ],
    real: Annotated[
        str | None,
        typer.Option("--real", metavar="NAME", help="Real images: data set or statistics.npz."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=PATH", help="Name of a PATH (repeatable)."),
    ] = None,
    kernel: Kernel = "",
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Anything; it is recorded.")
    ] = "",
    floor: Accepted = None,
    prompts: Prompts = None,
    leave_out: LeaveOut = False,
    extractors: Extractors = None,
    metrics: Metrics = None,
    inception: Inception = None,
    backbones: Backbones = None,
    out: Out = Path("reports"),
    redact: Redact = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at names, score nothing.")
    ] = False,
) -> int:
    """Compare pictures that other programs made, pair by pair; write a versioned report.

    Pairs are made by the path within the folder, without suffix.

    Example: bench score bf16/ 4bit/
    """
    named = labelled(reference, [*tests, *(floor or ())], label or ())
    accepted = list(named)[1 + len(tests) :]
    words = {"extractors": listed("--extractors", extractors)}
    words["metrics"] = listed("--metrics", metrics)
    texts = {"kernel": kernel, "note": note, "real": real or "", "prompts": str(prompts or "")}
    asked = opened(named, may_leave_out=leave_out, floors=accepted, **words, **texts)
    if dry_run:
        _dry_run(asked)
    else:
        print(written(asked, out, redact) / "report.md")
    return exits.FINE


def labelled(reference: str, tests: Sequence[str], labels: Sequence[str]) -> dict[str, Path]:
    """Paths by label, the reference first.

    Args:
        reference, tests: PATH or NAME=PATH.
        labels: further NAME=PATH, each for a path that is among them.

    Raises:
        InputError: a name that is none or is there twice, or a path that is.
    """
    given = {path: name for name, path in (_parted(text, "--label") for text in labels)}
    named: dict[str, Path] = {}
    seen: dict[str, str] = {}
    for text in (reference, *tests):
        name, path = _split(text)
        name = given.pop(path, name) or _default(path)
        if not LABEL.fullmatch(name) or len(name) > LONGEST or name.lower() == "fp32":
            raise InputError(
                f"{quoted(name)} is no name for pictures: letters, digits, . _ + -, and not fp32"
            )
        real_path = os.path.realpath(path)
        if real_path in seen:
            raise InputError(f"{short(path)} is there twice: name the pictures of two programs")
        if name in named:
            raise InputError(
                f"{short(path)} and {short(str(named[name]))} are both called {name}: write "
                f"NAME=PATH"
            )
        named[name], seen[real_path] = Path(path), name
    for path in given:
        raise InputError(f"--label {short(path)}: no such path is scored")
    return named


def _split(text: str) -> tuple[str, str]:
    """(name, path) of PATH or NAME=PATH; a path that exists is one, "=" in it or not."""
    if "=" not in text or border.exists(Path(text)):
        return "", text
    return _parted(text, "TEST")


def _parted(text: str, what: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (separator and name and path):
        raise InputError(f"{what} {quoted(text)}: write NAME=PATH")
    return name, path


def _default(path: str) -> str:
    """A name out of a path: its last part, without the suffix of an archive."""
    last = Path(os.path.abspath(path)).name
    for suffix in (".zip", ".npz"):
        last = last.removesuffix(suffix)
    return re.sub(r"[^\w.+-]+", "-", last)[:LONGEST] or "pictures"


def opened(named: Mapping[str, Path], **fields: object) -> Asked:
    """What is to be scored, its places opened; `fields` are those of `Asked`.

    Raises:
        InputError: as for `pictures.find`, or texts of more than one line.
    """
    from bench.evaluation.elsewhere import Asked
    from bench.measurement.data import pictures

    for name in ("kernel", "note"):
        text = str(fields.get(name, ""))
        if len(text) > 1000 or not text.isprintable():
            raise InputError(f"--{name} must be one line of at most 1000 printable characters")
    places = {label: pictures.find(path) for label, path in named.items()}
    return Asked(places, **fields)  # type: ignore[arg-type]


def _dry_run(asked: Asked) -> None:
    """Print what would be scored."""
    from bench.evaluation import elsewhere, pairing

    names, alone = pairing.common(asked.places)
    full = elsewhere.check(asked)
    for label, place in asked.places.items():
        say(f"{label:32} {len(place.names):,} pictures in {place.path}")
    say(f"{len(names):,} pairs; by {', '.join(full.metrics)}")
    if alone:
        say(f"left out, {pairing.ALONE}: {len(alone):,} ({first_few(alone, pairing.SHOWN)})")


def written(asked: Asked, out: Path, redact: bool = False) -> Path:
    """Score and write the folder of the run.

    Raises:
        InputError: bad pictures, names or weights; nothing is written then.
    """
    from bench.evaluation import elsewhere

    elsewhere.check(asked)
    execution.prepare(out)
    scored = elsewhere.score(asked, fingerprint(), store.cache_root(), _tell)
    _remark(scored.records)
    run = publishing.described(scored.records)

    def kept(record: Record) -> tuple[Influences, np.ndarray]:
        keys = {influences.key(record.cell, m.name) for m in record.measurements}
        own = {key: terms for key, terms in scored.terms.items() if key in keys}
        return own, scored.strips[record.cell]

    folder = publishing.write(out, run, kept, redact)
    for line in publishing.nearer_than_the_floor(run, folder):
        _tell(line)
    ending.tell(run, folder)
    return folder


def _remark(records: Sequence[Record]) -> None:
    """Say what the numbers of images mean, and what was not measured or did not change."""
    remarks: list[str] = []
    for record in records:
        cell = record.cell
        for extractor in cell.extractors:
            remarks += distances.remarks(extractor, cell.draw.images) if record.real else []
        remarks += distances.few_real(
            cell.draw.images, record.real_images, cell.checkpoint.dataset
        )
        remarks += execution.outcome_lines(record)
    for remark in dict.fromkeys(remarks):
        _tell(remark)


def _tell(line: str) -> None:
    say(line, file=sys.stderr)
