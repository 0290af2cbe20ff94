"""A run as decided rows: one for each cell, in report order, linked to its full-precision row.

The decisions of a report (the order, and whether a change is a loss or a gain) are made here and
in `ranking`; the modules that print or draw only choose words and marks. Nothing is formatted
here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bench.core import distances
from bench.core.cell import Cell, of_any_size
from bench.core.elsewhere import ROW
from bench.core.record import Measurement, Record, Run
from bench.core.scheme import Scheme
from bench.report.labels import short
from bench.verdicts.floors import floors_of

METHODS = ("baseline", "ema", "swa", "sam", "sam+ema", "sam+swa", "ip", "ip+ema", "ip+swa")
# The kernel of images that were made elsewhere, where nothing was stated.
UNKNOWN = "unknown"
# How far images moved from full precision: paired metrics in the order of preference.
RANKING = ("psnr", "fd_twin", "ssim")


@dataclass(frozen=True)
class CellRow:
    """One cell of a run.

    Attributes:
        extractor: features that `fd`, `kd`, their changes and `fd_twin` are computed from.
        kernel: kernel that executed, by the coverage; "" for cells that were refused or failed,
            and what the user states for images that were made elsewhere.
        share: share of the multiply-accumulates that is quantized, 0..1; None where unknown.
        images: number N of images.
        fd_change, kd_change: quantized minus full precision of the same checkpoint.
        rest: measurements that have no field of their own.
        reference: the row of the same checkpoint in full precision, None for that row itself
            and where the run has none.
        floors: the rows of the noise floors that it is held against.
    """

    checkpoint: str
    family: str
    method: str
    scheme: Scheme
    backend: str
    extractor: str
    kernel: str
    share: float | None
    images: int
    status: str
    error: str
    fd: Measurement | None
    kd: Measurement | None
    fd_change: Measurement | None
    kd_change: Measurement | None
    fd_twin: Measurement | None
    psnr: Measurement | None
    ssim: Measurement | None
    rest: tuple[Measurement, ...]
    record: Record
    reference: CellRow | None = None
    floors: tuple[CellRow, ...] = ()

    @property
    def cell(self) -> Cell:
        """The cell that was asked for."""
        return self.record.cell

    @property
    def ok(self) -> bool:
        """Whether the cell was measured."""
        return self.status == "ok"


def rows(run: Run) -> list[CellRow]:
    """All cells of a run but those of the noise floor, which each row has beside it: by family,
    method, training seed, full precision first, then bits."""
    references = _references(run)
    decided = []
    for record in run.judged:
        reference = references.get(_twin_key(record))
        if reference is not None and reference.record is record:
            decided.append(reference)
        else:
            decided.append(_row(record, reference, _floors(run, record, reference)))
    return sorted(decided, key=_order)


def with_floors(run: Run) -> list[CellRow]:
    """All cells of a run: those of the noise floor come last."""
    references = _references(run)
    floors = [record for record in run.records if record.cell.is_floor]
    return [*rows(run), *(_row(r, references.get(_twin_key(r))) for r in floors)]


def _references(run: Run) -> dict[tuple[object, ...], CellRow]:
    """The rows of full precision, by what those that are held against them have in common."""
    full = [record for record in run.judged if record.cell.scheme.is_float]
    return {_twin_key(record): _row(record, None) for record in full}


def _floors(run: Run, record: Record, reference: CellRow | None) -> tuple[CellRow, ...]:
    known = floors_of(record, run.records) if not record.cell.scheme.is_float else []
    return tuple(_row(floor, reference) for floor in known)


def schemes(all_rows: Iterable[CellRow]) -> list[Scheme]:
    """The schemes of the rows, full precision first, then from many to few bits."""
    return sorted({row.scheme for row in all_rows}, key=scheme_order)


def scheme_order(scheme: Scheme) -> tuple[bool, float, int, str]:
    """Sort key: full precision, then weight bits and activation bits downwards."""
    return not scheme.is_float, -scheme.mean_bits, -scheme.act_bits, str(scheme)


def labels(all_rows: Iterable[CellRow]) -> dict[str, str]:
    """A short label for each checkpoint (`bench.report.labels`)."""
    return short(trained(all_rows))


def trained(all_rows: Iterable[CellRow]) -> dict[str, tuple[str, int]]:
    """Method and training seed by checkpoint, in order."""
    return {row.checkpoint: (row.method, row.cell.checkpoint.seed) for row in all_rows}


def interval(measurement: Measurement | None) -> tuple[float, float] | None:
    """The ends of the 95% interval, or None where there is none yet.

    One without width is none: no image moved the number, which is no certainty about others.
    """
    if measurement is None or measurement.low is None or measurement.high is None:
        return None
    if measurement.low == measurement.high:
        return None
    if not (math.isfinite(measurement.low) and math.isfinite(measurement.high)):
        return None
    return measurement.low, measurement.high


def unmoved(measurement: Measurement) -> bool:
    """Whether a change is 0, and was for each image, so that there is no interval."""
    return (
        measurement.name.startswith("delta_")
        and measurement.value == 0
        and interval(measurement) is None
    )


def interval_verdict(change: Measurement) -> str:
    """The verdict on a change by its interval.

    Returns:
        "undefined" (not a number), "unseen" (no image changed), "open" (no interval yet),
        "unclear" (the interval contains 0), "worse" or "better" (it does not).
    """
    if math.isnan(change.value):
        return "undefined"
    if unmoved(change):
        return "unseen"
    ends = interval(change)
    if ends is None:
        return "open"
    low, high = ends if change.better == "lower" else (-ends[1], -ends[0])
    if low > 0:
        return "worse"
    return "better" if high < 0 else "unclear"


def worst(all_rows: Iterable[CellRow]) -> tuple[CellRow, Measurement] | None:
    """The row farthest from full precision by the first paired metric measured, and its value."""
    measured = [row for row in all_rows if row.ok and not row.scheme.is_float]
    for metric in RANKING:
        pairs = [(row, value) for row in measured if (value := _defined(row, metric))]
        if pairs:
            return max(pairs, key=lambda pair: _loss(pair[1]))
    return None


def _row(record: Record, reference: CellRow | None, floors: tuple[CellRow, ...] = ()) -> CellRow:
    cell, coverage, elsewhere = record.cell, record.coverage, record.elsewhere
    # Sets of images stand where checkpoints do, so that several of them are ranked.
    is_test = elsewhere is not None and not cell.scheme.is_float
    extractor = cell.extractors[0] if cell.extractors else ""
    names = {
        "fd": distances.frechet(extractor),
        "kd": distances.kernel(extractor),
        "fd_change": f"delta_{distances.frechet(extractor)}",
        "kd_change": f"delta_{distances.kernel(extractor)}",
        "fd_twin": f"fd_twin_{extractor}",
        "psnr": "psnr",
        "ssim": "ssim",
    }
    fields = {field: record.measurement(name) for field, name in names.items()}
    return CellRow(
        checkpoint=str(cell.scheme) if is_test else cell.checkpoint.name,
        family=cell.checkpoint.family,
        method=cell.checkpoint.method,
        scheme=Scheme(elsewhere=ROW) if is_test else cell.scheme,
        backend=cell.backend,
        extractor=extractor,
        kernel=coverage.kernel if coverage else elsewhere.kernel or UNKNOWN if elsewhere else "",
        share=coverage.share if coverage else None,
        images=cell.draw.images,
        status=record.status,
        error=record.error,
        rest=tuple(m for m in record.measurements if m not in fields.values()),
        record=record,
        reference=reference,
        floors=floors,
        **fields,
    )


def _twin_key(record: Record) -> tuple[object, ...]:
    # Quantized cells may have smaller N: full precision took the largest of them.
    cell = record.cell
    return cell.checkpoint.name, cell.checkpoint.sha256, of_any_size(cell.draw)


def _order(row: CellRow) -> tuple[object, ...]:
    return (
        row.family,
        _method_order(row.method),
        row.cell.checkpoint.seed,
        row.record.elsewhere is not None and not row.cell.is_reference,
        row.checkpoint,
        scheme_order(row.scheme),
        row.backend,
        row.images,
    )


def _method_order(method: str) -> tuple[int, str]:
    words = sorted(method.split("+"))
    known = [sorted(name.split("+")) for name in METHODS]
    return (known.index(words) if words in known else len(known)), method


def _defined(row: CellRow, metric: str) -> Measurement | None:
    measurement = getattr(row, metric)
    return None if measurement is None or math.isnan(measurement.value) else measurement


def _loss(measurement: Measurement) -> float:
    return measurement.value if measurement.better == "lower" else -measurement.value
