"""A run as plain data: a pandas frame of one row per measurement, and as CSV and JSON text.

The full name of a measurement, `delta_fd_efficientnet@500`, is in the column `measurement`; its
parts have columns of their own, so that nobody has to take names apart: `metric` (`delta_fd`),
`extractor` (`efficientnet`, "" for numbers of images alone) and `n` (500).

Cells that were refused or failed keep one row without a measurement, so that they are not lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import distances, printable
from bench.core.record import Measurement, Run
from bench.report.rows import CellRow, interval, with_floors

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "run",
    "created",
    "commit",
    "dirty",
    "checkpoint",
    "family",
    "method",
    "dataset",
    "sha256",
    "scheme",
    "backend",
    "kernel",
    "coverage",
    "status",
    "error",
    "sampler",
    "steps",
    "images",
    "seed",
    "eta",
    "spacing",
    "guidance",
    "batch",
    "host",
    "measurement",
    "metric",
    "extractor",
    "n",
    "real_images",
    "value",
    "low",
    "high",
    "unit",
    "better",
    "version",
    "paired",
    "decided",
)


def frame(run: Run) -> pandas.DataFrame:
    """All measurements of a run, in report order; `COLUMNS` names the columns.

    `value`, `low` and `high` are NaN where undefined or where there is no interval yet.
    """
    import pandas

    lines = []
    for row in with_floors(run):
        for measurement in row.record.measurements or (None,):
            lines.append({**_cell(run, row), **_measurement(row, measurement)})
    table = pandas.DataFrame(lines, columns=list(COLUMNS))
    for name in ("value", "low", "high", "coverage"):
        table[name] = table[name].astype("float64")
    for name in ("n", "real_images", "version"):
        table[name] = table[name].astype("Int64")
    return table


def csv(run: Run, folder: Path) -> str:
    """The frame as comma-separated values with a header line."""
    return safe_csv(frame(run))


def safe_csv(table: pandas.DataFrame) -> str:
    """A frame as comma-separated values; no text in it is computed by a spreadsheet."""
    columns = {name: table[name].map(_safe) for name in table.columns}
    names = [printable.cell(str(name)) for name in table.columns]
    text: str = table.assign(**columns).to_csv(index=False, lineterminator="\n", header=names)
    return text


def _safe(value: Any) -> Any:
    return printable.cell(value) if isinstance(value, str) else value


def as_json(run: Run, folder: Path) -> str:
    """The frame as a JSON list of objects, with null for undefined and infinite numbers."""
    text = frame(run).to_json(orient="records", double_precision=15)
    return json.dumps(json.loads(text), indent=1) + "\n"


def _cell(run: Run, row: CellRow) -> dict[str, Any]:
    checkpoint, draw = row.cell.checkpoint, row.cell.draw
    return {
        "run": run.id,
        "created": run.created,
        "commit": run.commit,
        "dirty": run.dirty,
        "checkpoint": row.checkpoint,
        "family": row.family,
        "method": row.method,
        "dataset": checkpoint.dataset,
        "sha256": checkpoint.sha256,
        "scheme": str(row.scheme),
        "backend": row.backend,
        "kernel": row.kernel,
        "coverage": row.share,
        "status": row.status,
        "error": row.error,
        "sampler": draw.sampler,
        "steps": draw.steps,
        "images": draw.images,
        "seed": draw.seed,
        "eta": draw.eta,
        "spacing": draw.spacing,
        "guidance": draw.guidance,
        "batch": draw.batch,
        "host": row.record.host.name,
        "decided": row.record.decided.verdict if row.record.decided else "",
    }


def _measurement(row: CellRow, measurement: Measurement | None) -> dict[str, Any]:
    if measurement is None:
        empty = dict.fromkeys(("measurement", "metric", "extractor", "unit", "better"), "")
        return {**empty, "paired": False}
    metric, extractor = distances.parts(measurement.name.split("@")[0], row.cell.extractors)
    # An interval without width is none: no image moved the number.
    low, high = interval(measurement) or (None, None)
    return {
        "measurement": measurement.name,
        "metric": metric,
        "extractor": extractor,
        "n": measurement.n,
        "real_images": row.record.real_images.get(extractor),
        "value": measurement.value,
        "low": low,
        "high": high,
        "unit": measurement.unit,
        "better": measurement.better,
        "version": measurement.version,
        "paired": measurement.paired,
    }
