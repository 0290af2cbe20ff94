"""A certificate: that quantized cells of a run are not worse than a margin, in a form to check.

It is one JSON with what the statement is about (weights, scheme, calibration, kernel, coverage),
the statement (metric, margin, level, bounds, verdict), and hashes of the files that it rests on.
Whoever has the run makes it again from `run.json` and `influences.npz`, and sees the differences.

The bounds are two-sided at the level, so each verdict, non-inferior (w < m) or worse (w > m), is
false with at most half of 1 - level, cell by cell. For a cell whose N was given, or came from a
wanted precision, they are Student's; where sampling stopped at a verdict they are those of its
confidence sequence, as Student's do not hold then.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import border, estimates
from bench.core.errors import InputError
from bench.core.printable import quoted, short
from bench.core.record import Record, Run
from bench.system import influences
from bench.system.influences import Influences
from bench.system.runs import read_run
from bench.verdicts import floors, margins
from bench.verdicts.confidence_sequences import Sequence
from bench.verdicts.thresholds import Threshold

SCHEMA, NEAR = 1, 1e-9
NON_INFERIOR, NOT_SHOWN, WORSE = "non-inferior", "not shown", "worse"


@dataclass(frozen=True)
class Claim:
    """What is stated of a quantized cell.

    Attributes:
        full_precision, quantized: SHA-256 of the weights that images were made from; quantizing
            starts from the former, so they are the same file unless a backend loads its own.
            Of images from elsewhere: of the names and pixels of both sets.
        calibration: SHA-256 of the calibration batches, "" where there are none.
        kernel: what executed; `coverage` is the share of the multiply-accumulates quantized,
            None where that is not known.
        images: N. `pairs`: of them those held against the same noise in full precision.
        version: of the metric.
        worsening: positive where the cell is worse, in `unit`; `margin` in the same unit.
        low, high: bounds of w - m: below 0 is non-inferior, above 0 is worse; None for none.
        bounds: "student" or "sequence".
        floor, floor_worsening: what executed the noise floor, and how much worse it is, in `unit`.
    """

    checkpoint: str
    scheme: str
    backend: str
    full_precision: str
    quantized: str
    calibration: str
    kernel: str
    coverage: float | None
    images: int
    pairs: int
    version: int
    unit: str
    worsening: float
    margin: float
    low: float | None
    high: float | None
    bounds: str
    verdict: str
    floor: str = ""
    floor_worsening: float | None = None

    @property
    def name(self) -> str:
        """The cell's."""
        return f"{self.checkpoint} {self.scheme} {self.backend}"


@dataclass(frozen=True)
class Certificate:
    """The claims of a run. `margin` is what was asked for, as "3%" or "0.5"; `seal` is the SHA-256
    of all else in it, so that a changed word shows."""

    run: str
    created: str
    commit: str
    run_json: str
    influences_npz: str
    metric: str
    margin: str
    level: float
    claims: tuple[Claim, ...]
    seal: str = ""
    schema: int = SCHEMA

    @property
    def verdict(self) -> str:
        """The worst verdict of its claims."""
        verdicts = {claim.verdict for claim in self.claims}
        return next(each for each in (WORSE, NOT_SHOWN, NON_INFERIOR) if each in verdicts)


def certify(
    folder: Path, metric: str, margin: str, level: float = estimates.LEVEL, cells: str = "*"
) -> Certificate:
    """The certificate of the quantized cells of a run.

    Args:
        folder: of the run, with run.json and influences.npz.
        metric: the change's name without its N, with `delta_`.
        margin: "0.5" in its unit, or "3%" of the full-precision number.
        level: of the bounds, above 0.5 and below 1.
        cells: glob of "checkpoint scheme backend".

    Raises:
        InputError: no such run, files, cells or numbers, or a level out of range.
    """
    made = _made(folder, (metric, margin, level), lambda name: fnmatch.fnmatchcase(name, cells))
    if not made.claims:
        raise InputError(f"{folder.name} has no measured quantized cell {quoted(cells)}")
    return made


def _made(
    folder: Path, asked: tuple[str, str, float], is_wanted: Callable[[str], bool]
) -> Certificate:
    """The certificate of the cells whose names are wanted; `asked`: metric, margin and level."""
    metric, margin, level = asked
    entry = margins.margin(margin)
    if not 0.5 < level < 1:
        raise InputError(f"--level must be above 0.5 and below 1, not {level:g}")
    run, terms = read_run(folder), influences.load(folder / influences.NAME)
    if not terms:
        raise InputError(
            f"{folder} has no {influences.NAME}: a certificate rests on it, run again"
        )
    measured = [r for r in run.judged if not r.cell.is_reference and r.status == "ok"]
    chosen = [record for record in measured if is_wanted(str(record.cell))]
    if len({str(record.cell) for record in chosen}) < len(chosen):
        raise InputError(f"{folder.name} has two cells of one name, which cannot be told apart")
    made = Certificate(
        run.id,
        run.created,
        run.commit,
        _digest(folder / "run.json"),
        _digest(folder / influences.NAME),
        metric,
        margin.strip(),
        level,
        tuple(_claim(run, record, terms, (metric, entry), level) for record in chosen),
    )
    return replace(made, seal=seal(made))


def to_json(certificate: Certificate) -> str:
    """A certificate as indented JSON."""
    return json.dumps(asdict(certificate), indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> Certificate:
    """A certificate from its file, checked at the border.

    Raises:
        InputError: no file, no certificate, or a newer schema.
    """
    text = border.text(path, "a certificate of bench")
    try:
        data = border.parse(text)
        schema = data["schema"] if isinstance(data, dict) else None
        if type(schema) is int and schema > SCHEMA:
            raise InputError(f"{path} has schema {schema}, this bench reads {SCHEMA}: upgrade")
        made = border.build(Certificate, data)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path}: not a certificate of bench ({short(str(error), 240)})"
        ) from None
    if len({claim.name for claim in made.claims}) < max(len(made.claims), 1):
        raise InputError(f"{path}: not a certificate of bench (each cell has one claim)")
    return made


def seal(certificate: Certificate) -> str:
    """SHA-256 of all that a certificate says but for its seal."""
    data: Any = asdict(replace(certificate, seal=""))
    for claim in data["claims"]:
        if not claim["floor"]:  # as in all that were written before there were floors
            del claim["floor"], claim["floor_worsening"]
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(certificate: Certificate, folder: Path) -> list[str]:
    """What does not hold of a certificate, made again from its run; nothing where all does.

    Raises:
        InputError: there is no such run.
    """
    lines = []
    if certificate.seal != seal(certificate):
        lines.append("the certificate was changed after it was written: its seal is another one")
    for name, stated in (
        ("run.json", certificate.run_json),
        (influences.NAME, certificate.influences_npz),
    ):
        if (here := _digest(folder / name)) != stated:
            digests = f"SHA-256 {stated[:12] or 'none'} stated, {here[:12] or 'no file'} here"
            lines.append(f"{name} is another file: {digests}")
    names = {claim.name for claim in certificate.claims}
    asked = certificate.metric, certificate.margin, certificate.level
    try:
        again = _made(folder, asked, names.__contains__)
    except InputError as error:
        return [*lines, f"it cannot be made again: {error}"]
    stated_fields, here_fields = _flat(certificate), _flat(again)
    for name in stated_fields | here_fields:
        was, now = stated_fields.get(name), here_fields.get(name)
        if name not in ("seal", "run_json", "influences_npz") and not _alike(was, now):
            lines.append(f"{name}: {short(str(was))} stated, {short(str(now))} here")
    return lines


def _claim(
    run: Run, record: Record, terms: Influences, asked: tuple[str, Threshold], level: float
) -> Claim:
    worsening = margins.of_cell(record, terms, *asked)
    number = margins.changes(record)[worsening.metric]
    value, own = worsening.above
    low, high, bounds = _bounds(record, value, own, level)
    verdict = NOT_SHOWN
    if low is not None and high is not None:
        verdict = WORSE if low > 0 else NON_INFERIOR if high < 0 else NOT_SHOWN
    cell, coverage, images = record.cell, record.coverage, record.elsewhere
    cards = [r.cell.checkpoint for r in run.records if r.cell.is_reference]
    full = [card.sha256 for card in cards if card.name == cell.checkpoint.name]
    return Claim(
        cell.checkpoint.name,
        str(cell.scheme),
        cell.backend,
        full[0] if full else cell.checkpoint.sha256,
        images.sha256 if images else cell.checkpoint.sha256,
        record.calibration,
        coverage.kernel if coverage else images.kernel if images else "",
        coverage.share if coverage else None,
        number.n,
        len(own),
        number.version,
        number.unit,
        worsening.value,
        worsening.margin,
        low,
        high,
        bounds,
        verdict,
        *floors.worsening(record, run.records, worsening.metric),
    )


def _bounds(
    record: Record, value: float, own: np.ndarray, level: float
) -> tuple[float | None, float | None, str]:
    """The ends of the interval of a number, and which kind it is."""
    if record.decided:
        ends = Sequence(level, record.decided.tuned, record.decided.counts[0]).interval(value, own)
        return (*(ends or (None, None)), "sequence")
    estimate = estimates.estimate(value, own)
    if estimate is None or estimate.error == 0:
        return None, None, "student"
    return (*estimate.interval(level), "student")


def _digest(path: Path) -> str:
    """SHA-256 of a file, "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _flat(certificate: Certificate) -> dict[str, Any]:
    """The fields by name, those of a claim with the cell's."""
    data: dict[str, Any] = asdict(certificate)
    del data["claims"]
    for claim in certificate.claims:
        data |= {f"{claim.name}: {field}": value for field, value in asdict(claim).items()}
    return data


def _alike(stated: Any, here: Any) -> bool:
    """Whether two fields say the same; numbers but for the order of a sum."""
    if isinstance(stated, float) and isinstance(here, float):
        return math.isclose(stated, here, rel_tol=NEAR, abs_tol=NEAR)
    return bool(stated == here)
